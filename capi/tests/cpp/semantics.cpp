// What std::condition_variable_any does, ours does: a table of scenarios, each run on both over every lock, with the same outcome.
#include <chrono>
#include <memory>
#include <vector>

#include "check.hpp"
#include "locks.hpp"

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// The peer.
class theirs {
public:
    template <class L>
    void wait(L &lock) { cv_.wait(lock); }
    template <class L, class P>
    void wait(L &lock, P pred) { cv_.wait(lock, pred); }
    template <class L, class T>
    std::cv_status wait_for(L &lock, T time) { return cv_.wait_for(lock, time); }
    template <class L, class T, class P>
    bool wait_for(L &lock, T time, P pred) { return cv_.wait_for(lock, time, pred); }
    template <class L, class T>
    std::cv_status wait_until(L &lock, T deadline) { return cv_.wait_until(lock, deadline); }
    template <class L, class T, class P>
    bool wait_until(L &lock, T deadline, P pred) { return cv_.wait_until(lock, deadline, pred); }
    void notify_one() { cv_.notify_one(); }
    void notify_all() { cv_.notify_all(); }

private:
    std::condition_variable_any cv_;
};

class ours {
public:
    ours() : stop_("semantics") {}
    template <class L>
    void wait(L &lock) { cv_.wait(stop_, lock); }
    template <class L, class P>
    void wait(L &lock, P pred) { cv_.wait(stop_, lock, pred); }
    template <class L, class T>
    std::cv_status wait_for(L &lock, T time) { return cv_.wait_for(stop_, lock, time); }
    template <class L, class T, class P>
    bool wait_for(L &lock, T time, P pred) { return cv_.wait_for(stop_, lock, time, pred); }
    template <class L, class T>
    std::cv_status wait_until(L &lock, T deadline) { return cv_.wait_until(stop_, lock, deadline); }
    template <class L, class T, class P>
    bool wait_until(L &lock, T deadline, P pred) { return cv_.wait_until(stop_, lock, deadline, pred); }
    void notify_one() { cv_.notify_one(); }
    void notify_all() { cv_.notify_all(); }

private:
    unwedge::stop_domain stop_;
    unwedge::condition_variable_any cv_;
};

/// Holds the mutex for writing: who changes what is waited for.
template <class M>
class writer {
public:
    explicit writer(M &mutex) : mutex_(mutex) { mutex_.lock(); }
    ~writer() { mutex_.unlock(); }
    writer(const writer &) = delete;
    writer &operator=(const writer &) = delete;

private:
    M &mutex_;
};

/// One scenario after the other; each says what came of it, in numbers.
template <class Cond, class Kind>
struct scenarios {
    typedef typename Kind::mutex mutex;
    typedef typename Kind::lock lock;

    mutex m;
    Cond cond;
    int state = 0;      // under the mutex
    int waiting = 0;    // under the mutex, in exclusive mode
    int came_back = 0;  // the same

    void begins() {
        writer<mutex> guard(m);
        ++waiting;
    }
    void comes_back() {
        writer<mutex> guard(m);
        ++came_back;
    }
    /// Until so many have begun to wait: they have let the lock go, so they are registered.
    void until_waiting(int count) {
        for (;; std::this_thread::yield()) {
            writer<mutex> guard(m);
            if (waiting >= count) return;
        }
    }
    void change(int to) {
        writer<mutex> guard(m);
        state = to;
    }

    /// Waits for a state; begins under the lock.
    void waits_for(int wanted) {
        begins();
        {
            lock guard(m);
            cond.wait(target(guard), [&] { return state >= wanted; });
            guard.unlock();
        }
        comes_back();
    }

    std::vector<long> no_waiter_no_memory() {
        cond.notify_one();
        cond.notify_all();
        lock guard(m);
        const bool timed_out = cond.wait_for(target(guard), milliseconds(1)) == std::cv_status::timeout;
        guard.unlock();
        return {timed_out};
    }

    std::vector<long> deadline_in_the_past() {
        lock guard(m);
        const auto past = steady_clock::now() - milliseconds(1);
        const bool timed_out = cond.wait_until(target(guard), past) == std::cv_status::timeout;
        const bool wall = cond.wait_until(target(guard), std::chrono::system_clock::now() - milliseconds(1)) == std::cv_status::timeout;
        const bool negative = cond.wait_for(target(guard), milliseconds(-5)) == std::cv_status::timeout;
        const bool pred_false = cond.wait_until(target(guard), past, [] { return false; });
        const bool pred_true = cond.wait_until(target(guard), past, [] { return true; });
        guard.unlock();
        return {timed_out, wall, negative, pred_false, pred_true};
    }

    std::vector<long> true_from_the_start() {
        int asked = 0;
        lock guard(m);
        cond.wait(target(guard), [&] { return ++asked == 1; });
        const bool in_time = cond.wait_for(target(guard), std::chrono::hours(1), [&] { return ++asked == 2; });
        guard.unlock();
        return {asked, in_time};
    }

    std::vector<long> times_out_with_the_lock() {
        int asked = 0;
        lock guard(m);
        const auto begun = steady_clock::now();
        const bool in_time = cond.wait_for(target(guard), milliseconds(3), [&] { return ++asked > 1000000; });
        const bool long_enough = steady_clock::now() - begun >= milliseconds(3);
        guard.unlock();  // would be an error if it were not held
        return {in_time, long_enough, asked >= 2};
    }

    std::vector<long> one_at_a_time() {
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) threads.emplace_back([this] { waits_for(1); });
        until_waiting(3);
        change(1);
        for (int i = 0; i < 3; ++i) cond.notify_one();
        // Who had begun, and was not waiting yet, has seen the state.
        for (auto &thread : threads) thread.join();
        return {came_back};
    }

    std::vector<long> all_at_once() {
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) threads.emplace_back([this] { waits_for(1); });
        until_waiting(4);
        change(1);
        cond.notify_all();
        for (auto &thread : threads) thread.join();
        return {came_back};
    }

    std::vector<long> notified_under_the_lock() {
        std::thread waiter([this] { waits_for(1); });
        until_waiting(1);
        {
            writer<mutex> guard(m);
            state = 1;
            cond.notify_all();
        }
        waiter.join();
        return {came_back};
    }

    std::vector<long> turns() {
        const int rounds = 300;
        auto player = [this](int mine) {
            for (int i = 0; i < rounds; ++i) {
                {
                    lock guard(m);
                    cond.wait(target(guard), [&] { return state % 2 == mine; });
                    guard.unlock();
                }
                {
                    writer<mutex> guard(m);
                    ++state;
                }
                cond.notify_one();
            }
        };
        std::thread other(player, 1);
        player(0);
        other.join();
        return {state};
    }

    std::vector<long> many_to_many() {
        // Takers may only take in exclusive mode: so by hand.
        const int each = 200;
        long sum = 0;
        std::vector<std::thread> threads;
        for (int taker = 0; taker < 3; ++taker) {
            threads.emplace_back([&] {
                for (int i = 0; i < each;) {
                    {
                        lock guard(m);
                        cond.wait(target(guard), [&] { return state > 0; });
                        guard.unlock();
                    }
                    writer<mutex> guard(m);
                    if (state > 0) --state, ++sum, ++i;
                }
            });
        }
        for (int giver = 0; giver < 2; ++giver) {
            threads.emplace_back([&] {
                for (int i = 0; i < each * 3 / 2; ++i) {
                    {
                        writer<mutex> guard(m);
                        ++state;
                    }
                    cond.notify_all();
                }
            });
        }
        for (auto &thread : threads) thread.join();
        return {sum, state};
    }
};

template <class Cond, class Kind>
std::vector<std::vector<long>> outcomes() {
    typedef scenarios<Cond, Kind> all;
    typedef std::vector<long> (all::*scenario)();
    const scenario table[] = {
        &all::no_waiter_no_memory, &all::deadline_in_the_past, &all::true_from_the_start, &all::times_out_with_the_lock,
        &all::one_at_a_time,       &all::all_at_once,          &all::notified_under_the_lock, &all::turns,
        &all::many_to_many,
    };
    std::vector<std::vector<long>> found;
    for (scenario run : table) {
        std::unique_ptr<all> fresh(new all);
        found.push_back((fresh.get()->*run)());
    }
    return found;
}

int kinds = 0;

template <class Kind>
struct run_on_both {
    static void run(const char *name) {
        const auto expected = outcomes<theirs, Kind>();
        const auto found = outcomes<ours, Kind>();
        for (std::size_t i = 0; i < expected.size(); ++i) {
            if (found[i] != expected[i]) {
                std::fprintf(stderr, "%s: scenario %zu is not as with std::condition_variable_any\n", name, i);
                for (std::size_t j = 0; j < expected[i].size(); ++j) std::fprintf(stderr, "  %ld, theirs %ld\n", found[i][j], expected[i][j]);
                std::exit(1);
            }
        }
        ++kinds;
    }
};

}  // namespace

int main() {
    for_each_kind<run_on_both>();
    std::printf("semantics: 9 scenarios as with std::condition_variable_any over %d kinds of lock\n", kinds);
}
