// What moves: what was moved from is empty, and what an assignment takes the place of is let go at once. And times that are longer than the C ABI's.
#include <fcntl.h>

#include <chrono>
#include <mutex>
#include <type_traits>
#include <utility>

#include "check.hpp"

namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

template <class T>
constexpr bool moves_only() {
    return std::is_nothrow_move_constructible<T>::value && std::is_nothrow_move_assignable<T>::value && !std::is_copy_constructible<T>::value &&
           !std::is_copy_assignable<T>::value;
}
static_assert(moves_only<unwedge::stop_domain>() && moves_only<unwedge::plan>() && moves_only<unwedge::report>(), "handles move");
static_assert(moves_only<unwedge::completion<int>>() && moves_only<unwedge::completer<int>>(), "the two ends move");
static_assert(moves_only<unwedge::io>() && moves_only<unwedge::file>() && moves_only<unwedge::bytes>(), "what I/O gives moves");
static_assert(moves_only<unwedge::monitor<int>::guard>(), "a guard moves");

void read_bytes() {
    unwedge::stop_domain stop("bytes");
    unwedge::io io(stop);
    unwedge::file status = io.open("/proc/self/status", O_RDONLY).wait();
    unwedge::bytes first = io.read(status, 5, 0).wait(), second = io.read(status, 3, 0).wait();
    CHECK(first.str() == "Name:" && second.str() == "Nam");
    unwedge::bytes third(std::move(first));
    CHECK(third.str() == "Name:" && first.size() == 0 && first.data() == nullptr);
    second = std::move(third);
    CHECK(second.str() == "Name:" && third.size() == 0 && third.data() == nullptr);
    unwedge::bytes &same = second;
    second = std::move(same);
    CHECK(second.str() == "Name:");
    second = unwedge::bytes();
    CHECK(second.size() == 0 && second.data() == nullptr);
    CHECK(stop.shutdown(unwedge::plan(hours(1))).is_clean());
}

void guards() {
    unwedge::stop_domain stop("guards");
    unwedge::monitor<int> first(stop, "first", 1), second(stop, "second", 2);
    auto held = first.lock();
    auto other = second.lock();
    held = std::move(other);  // lets the first go: not when `other` goes
    CHECK(*held == 2 && !other.owns_lock());
    std::thread([&] { CHECK(*first.lock() == 1); }).join();
    unwedge::monitor<int>::guard &same = held;
    held = std::move(same);
    CHECK(*held == 2);
    held = unwedge::monitor<int>::guard();
    CHECK(!held.owns_lock() && *second.lock() == 2);
}

/// Which of these lives.
struct alive {
    int *count;
    explicit alive(int &of) : count(&of) { ++*count; }
    alive(alive &&other) : count(other.count) { ++*count; }
    ~alive() { --*count; }
};

void handles() {
    unwedge::stop_domain stop("handles");
    int count = 0;
    auto first = unwedge::owe<alive>(stop, "first"), second = unwedge::owe<alive>(stop, "second");
    CHECK(first.owes.complete(alive(count)));
    CHECK(count == 1);
    first.result = std::move(second.result);  // the value that nobody took goes at once
    CHECK(count == 0);
    unwedge::completer<alive> owes = second.owes.share();
    owes = unwedge::completer<alive>();
    CHECK(second.owes.is_wanted());
    second.owes = unwedge::completer<alive>();  // the last one: it is abandoned now
    CHECK(first.result.wait(std::nothrow).result() == -EOWNERDEAD);
}

/// A plan that was moved from is none, and no shutdown without a limit: nothing is done.
void plans() {
    unwedge::stop_domain stop("plans");
    unwedge::plan first(milliseconds(1));
    unwedge::plan second(std::move(first));
    std::mutex mutex;
    std::unique_lock<std::mutex> guard(mutex);
    for (const bool holding : {false, true}) {
        try {
            holding ? stop.shutdown_holding(guard, std::move(first)) : stop.shutdown(std::move(first));
            CHECK(!"it has no plan");
        } catch (const unwedge::failure &error) {
            CHECK(error.code() == std::errc::invalid_argument && !stop.is_requested() && guard.owns_lock());
        }
    }
    CHECK(stop.shutdown(std::move(second)).is_clean());
}

void long_times() {
    unwedge::stop_domain stop("long");
    const hours centuries(24 * 365 * 300);
    bool saved = false;
    auto plan = unwedge::plan(centuries).drain(centuries).phase("save", centuries, [&](const unwedge::stop_domain &phase) {
        saved = !phase.is_requested();
    });
    std::mutex mutex;
    unwedge::condition_variable_any changed;
    {
        std::unique_lock<std::mutex> guard(mutex);
        // Long ago, in units of which the difference to now would not fit into the clock's.
        typedef std::chrono::time_point<std::chrono::system_clock, hours> coarse;
        CHECK(changed.wait_until(stop, guard, coarse::min()) == std::cv_status::timeout);
        CHECK(changed.wait_until(stop, guard, std::chrono::steady_clock::time_point::min()) == std::cv_status::timeout);
        // And as far ahead: until the stop.
        stop.spawn("waiter", [&] {
            std::unique_lock<std::mutex> own(mutex);
            changed.wait_until(stop, own, coarse::max());
            CHECK(!"it throws");
        });
    }
    until_report_has(stop, "condition variable");
    CHECK(stop.shutdown(std::move(plan)).is_clean() && saved);
}

}  // namespace

int main() {
    read_bytes();
    guards();
    handles();
    plans();
    long_times();
    std::printf("moves: all as it should be\n");
}
