// Without exceptions: the forms that give a status or an outcome.
#include <cstdio>
#include <mutex>
#include <string>

#include "unwedge.hpp"

int main() {
    unwedge::stop_domain stop("plain");
    unwedge::condition_variable_any changed;
    unwedge::monitor<int> count(stop, "count", 1);
    std::mutex mutex;
    int wrong = 0;
    {
        std::unique_lock<std::mutex> guard(mutex);
        wrong += !changed.wait_for(std::nothrow, stop, guard, std::chrono::milliseconds(1)).is_timed_out();
        wrong += !guard.owns_lock();
    }
    {
        std::unique_lock<std::mutex> guard(mutex);
        const auto past = std::chrono::steady_clock::now() - std::chrono::milliseconds(1);
        wrong += !changed.wait_until(std::nothrow, stop, guard, past).is_timed_out();
        int asked = 0;
        wrong += !changed.wait(std::nothrow, stop, guard, [&] { return ++asked == 1; });
        wrong += asked != 1 || !guard.owns_lock();
    }
    bool ran = false;
    wrong += !stop.spawn(std::nothrow, "runs", [&] { ran = true; });
    wrong += stop.spawn(std::nothrow, nullptr, [&] { ran = false; }).code() != -EINVAL;
    auto answer = unwedge::owe<std::string>(stop, "answer");
    wrong += !answer.owes.complete("hello");
    auto came = answer.result.wait(std::nothrow);
    wrong += !came || came.value() != "hello";
    auto failed = unwedge::owe<std::string>(stop, "answer");
    failed.owes.fail(5);
    wrong += failed.result.wait(std::nothrow).result() != -5;
    if (auto guard = count.lock(std::nothrow)) {
        wrong += *guard != 1;
        wrong += !guard.wait_for(changed, std::chrono::milliseconds(1)).is_timed_out();
    }
    stop.request("plain");
    wrong += count.lock(std::nothrow).owns_lock();
    std::unique_lock<std::mutex> guard(mutex);
    wrong += !changed.wait(std::nothrow, stop, guard).is_stopped();
    wrong += guard.owns_lock();
    guard.lock();
    wrong += !changed.wait(std::nothrow, stop, guard, [] { return false; }).is_stopped();
    wrong += guard.owns_lock();
    // A phase takes the monitor, and does not when its time is up.
    bool had = false;
    unwedge::plan plan(std::chrono::seconds(30));
    const auto report = stop.shutdown(std::move(plan).phase("has", std::chrono::seconds(10), [&](const unwedge::stop_domain &phase) {
        had = count.lock(std::nothrow, phase).owns_lock();
        phase.request("over");
        wrong += count.lock(std::nothrow, phase).owns_lock();
    }));
    wrong += !report.is_clean();
    wrong += !had || !ran;
    std::printf("plain: %d wrong\n", wrong);
    return wrong;
}
