// First of all: a stop ends a wait, a completion, over a mutex.
#include "unwedge.hpp"

#include <cassert>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

int main() {
    unwedge::stop_domain stop("smoke");
    unwedge::condition_variable_any changed;
    std::mutex lock;
    bool ready = false;
    stop.spawn("waiter", [&] {
        std::unique_lock<std::mutex> guard(lock);
        changed.wait(stop, guard, [&] { return ready; });
        std::puts("woken");
        while (true) changed.wait(stop, guard);
    });
    {
        std::lock_guard<std::mutex> guard(lock);
        ready = true;
    }
    changed.notify_all();
    auto text = unwedge::owe<std::string>(stop, "text");
    std::thread other([&] { text.owes.complete("hello"); });
    std::printf("%s\n", text.result.wait().c_str());
    other.join();
    auto number = unwedge::owe<int>(stop, "number");
    number.owes.complete(0);
    std::printf("%d\n", number.result.wait());
    // A plain std::mutex::lock is none of unwedge's waits: the waiter must have got past it.
    while (stop.report().text().find("condition variable") == std::string::npos) std::this_thread::yield();
    unwedge::io io(stop);
    auto file = io.open("/proc/self/status", 0).wait();
    std::printf("%zu\n", io.read(file, 64, 0).wait().size());
    std::puts(io.metrics().c_str());
    std::unique_lock<std::mutex> held(lock);
    auto report = stop.shutdown_holding(held, unwedge::plan(std::chrono::seconds(30)));
    std::puts(report.text().c_str());
    return report.is_clean() && !held.owns_lock() ? 0 : 1;
}
