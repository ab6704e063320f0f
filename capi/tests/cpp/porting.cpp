// The patterns of PORTING.md, each as it stands there: what the caller has after a notification, and what after a stop.
#include <atomic>
#include <chrono>
#include <mutex>
#include <thread>

#include "check.hpp"

namespace {

using std::chrono::seconds;

/// What a daemon has: a lock, and something that changes under it.
template <class Mutex>
struct daemon {
    unwedge::stop_domain stop{"porting"};
    unwedge::condition_variable_any cond;
    Mutex m;
    bool ready = false;  // under m

    /// Makes it ready as soon as somebody waits.
    std::thread notifier() {
        return std::thread([this] {
            for (;; std::this_thread::yield()) {
                {
                    std::lock_guard<Mutex> guard(m);
                    ready = true;
                }
                if (unwedge_condvar_notify_one(cond.get()) == 1) return;
            }
        });
    }

    /// Stops it when a member waits.
    void ends() {
        until_report_has(stop, "condition variable");
        CHECK(stop.shutdown(unwedge::plan(seconds(30))).is_clean());
    }
};

/// A guard that the caller has, and a function below it that waits: the guard goes down by reference.
void a_nested_guard() {
    typedef std::unique_lock<std::mutex> guard;
    daemon<std::mutex> mds;
    const auto load = [&](guard &held) { mds.cond.wait(mds.stop, held); };
    {
        guard held(mds.m);
        std::thread notifier = mds.notifier();
        load(held);
        CHECK(held.owns_lock() && mds.ready);
        held.unlock();
        notifier.join();
    }
    bool came_out = false;
    mds.stop.spawn("loader", [&] {
        guard held(mds.m);
        try {
            load(held);
        } catch (const unwedge::stopped &) {
            came_out = !held.owns_lock();
        }
    });
    mds.ends();
    CHECK(came_out);
    std::lock_guard<std::mutex> free(mds.m);
}

/// A lock that the caller has taken and the function adopts: held after a notification, and not after a stop, which the caller is told.
void an_adopted_lock() {
    daemon<std::mutex> mds;
    const auto wait_locked = [&](std::mutex &m) {
        std::unique_lock<std::mutex> guard(m, std::adopt_lock);
        mds.cond.wait(mds.stop, guard);
        guard.release();
    };
    mds.m.lock();
    std::thread notifier = mds.notifier();
    wait_locked(mds.m);
    mds.m.unlock();  // it was held: the notifier, which wants it, waits for that
    notifier.join();
    bool came_out = false;
    mds.stop.spawn("loader", [&] {
        mds.m.lock();
        try {
            wait_locked(mds.m);
        } catch (const unwedge::stopped &) {
            came_out = true;
        }
    });
    mds.ends();
    CHECK(came_out && mds.m.try_lock());
    mds.m.unlock();
}

/// A recursive mutex that is held twice: a wait lets one level go, so nobody can notify under it. A stop ends that, and the level above is still held.
void a_recursive_lock() {
    daemon<std::recursive_mutex> mds;
    bool came_out = false;
    mds.stop.spawn("loader", [&] {
        std::lock_guard<std::recursive_mutex> above(mds.m);
        std::unique_lock<std::recursive_mutex> guard(mds.m);
        try {
            mds.cond.wait(mds.stop, guard);
        } catch (const unwedge::stopped &) {
            came_out = !guard.owns_lock();
        }
        std::thread([&] { CHECK(!mds.m.try_lock()); }).join();
    });
    until_report_has(mds.stop, "condition variable");
    CHECK(!mds.m.try_lock());
    mds.ends();
    CHECK(came_out && mds.m.try_lock());
    mds.m.unlock();
    // A monitor refuses the second level.
    unwedge::stop_domain stop("monitor");
    unwedge::monitor<int> monitor(stop, "mds_lock", 0);
    const auto first = monitor.lock();
    try {
        monitor.lock();
        CHECK(!"a second level");
    } catch (const unwedge::failure &error) {
        CHECK(error.code() == std::errc::resource_deadlock_would_occur);
    }
}

/// An assertion that the lock is held is true after a notification and after a timeout, and `owns_lock` says when it is not. What a stopped wait leaves is
/// undone by a phase, in which the monitor can be taken.
void an_assertion() {
    struct pinned {
        int pins;
    };
    unwedge::stop_domain stop("porting");
    unwedge::condition_variable_any loaded;
    unwedge::monitor<pinned> cache(stop, "cache", pinned{0});
    std::atomic<bool> held_after_timeout(false);
    bool held_after_stop = true;
    stop.spawn("reader", [&] {
        auto guard = cache.lock();
        ++guard->pins;
        CHECK(guard.wait_for(loaded, std::chrono::milliseconds(1)).is_timed_out());
        held_after_timeout = guard.owns_lock();
        try {
            guard.wait(loaded);
            --guard->pins;
        } catch (const unwedge::stopped &) {
            held_after_stop = guard.owns_lock();
        }
    });
    while (!held_after_timeout) std::this_thread::yield();
    until_report_has(stop, "condition variable of cache");
    int left = 0;
    CHECK(stop.shutdown(unwedge::plan(seconds(30)).phase("unpin", seconds(10), [&](const unwedge::stop_domain &phase) {
              auto guard = cache.lock(phase);
              left = guard->pins;
              guard->pins = 0;
          })).is_clean());
    CHECK(!held_after_stop && left == 1);
}

}  // namespace

int main() {
    a_nested_guard();
    an_adopted_lock();
    a_recursive_lock();
    an_assertion();
    std::printf("porting: all as it should be\n");
}
