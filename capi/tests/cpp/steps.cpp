// Steps of a plan with a lock that they hold or must not find held, a hurry, generations, and locks in contradicting orders.
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>

#include "check.hpp"

namespace {

using std::chrono::hours;
using std::chrono::seconds;
typedef unwedge::monitor<std::string> text_monitor;

void steps() {
    unwedge::stop_domain stop("mds.a");
    text_monitor cache(stop, "cache", "dirty"), table(stop, "table", "dirty");
    std::atomic<bool> accepting(true), joined(false);
    stop.spawn("listener", [&] {
        stop.wait_for(hours(1));
        while (accepting) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        joined = true;
    });
    const unwedge::report report =
        stop.shutdown(unwedge::plan(seconds(600))
                          .step(unwedge::step("stop accepting", seconds(30)).before_join(), [&](const unwedge::stop_domain &) { accepting = false; })
                          .step(unwedge::step("save", seconds(30)).not_holding(table).or_abort(), cache,
                                [&](const unwedge::stop_domain &phase, text_monitor::guard &held) {
                                    CHECK(joined && held.owns_lock() && !phase.is_requested());
                                    *held = "saved";
                                    held.unlock();
                                    *table.lock(phase) = "saved";
                                })
                          .step(unwedge::step("fails", seconds(30)), cache, [](const unwedge::stop_domain &, text_monitor::guard &held) {
                              CHECK(*held == "saved");
                              throw unwedge::failure(ENOSPC);
                          }));
    CHECK(report.text().find("phase save: done") != std::string::npos);
    CHECK(report.text().find("phase fails: failed: No space left on device") != std::string::npos);
    unwedge::stop_domain again("mds.a");
    CHECK(*cache.lock(again) == "saved" && *table.lock(again) == "saved");
    CHECK(again.generation() > stop.generation());
}

void held_by_the_stopper() {
    unwedge::stop_domain stop("held");
    text_monitor cache(stop, "cache");
    const auto held = cache.lock();
    const unwedge::report report =
        stop.shutdown(unwedge::plan(seconds(600))
                          .step(unwedge::step("with", seconds(30)), cache, [](const unwedge::stop_domain &, text_monitor::guard &) { CHECK(!"begun"); })
                          .step(unwedge::step("without", seconds(30)).not_holding(cache), [](const unwedge::stop_domain &) { CHECK(!"begun"); }));
    CHECK(report.text().find("phase with: failed: it needs cache") != std::string::npos);
    CHECK(report.text().find("phase without: failed: it needs cache") != std::string::npos);
}

void hurried() {
    unwedge::stop_domain stop("hurried");
    CHECK(!stop.is_hurried());
    bool begun = false;
    auto plan = unwedge::plan(hours(1))
                    .phase("slow", hours(1),
                           [&](const unwedge::stop_domain &phase) {
                               CHECK(stop.hurry("a second SIGTERM") && !stop.hurry("a third"));
                               CHECK(phase.wait_for(hours(1)));
                           })
                    .phase("next", hours(1), [&](const unwedge::stop_domain &) { begun = true; });
    const unwedge::report report = stop.shutdown(std::move(plan));
    CHECK(stop.is_hurried() && !begun && report.text().find("phase next: not begun") != std::string::npos);
}

void inversions() {
    std::string told;
    const bool watched = unwedge::on_inversion([&](const char *inversion) { told = inversion; });
    unwedge::stop_domain stop("order");
    text_monitor first(stop, "first_lock"), second(stop, "second_lock");
    {
        const auto outer = first.lock(), inner = second.lock();
    }
    {
        const auto outer = second.lock(), inner = first.lock();
    }
    CHECK(stop.report().inversions() == (watched ? 1 : 0));
    CHECK(watched == (told.find("first_lock") != std::string::npos));
    if (watched) CHECK(unwedge_on_inversion(nullptr, nullptr, nullptr) == 0);
}

}  // namespace

int main() {
    steps();
    held_by_the_stopper();
    hurried();
    inversions();
    std::printf("steps: all as it should be\n");
}
