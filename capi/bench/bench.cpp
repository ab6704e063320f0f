// unwedge.hpp against the standard library: `capi/bench/run.sh`.
//
// Ours and theirs run in turn, in pairs; what is judged is the median of the pairs' ratios, with the interval in which the true median lies with 95 %
// certainty (by order statistics). Threads that wake each other are pinned, both to one core or each to one of two, because where the scheduler puts them
// decides more than the primitive.
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "unwedge.hpp"

namespace {

typedef std::chrono::steady_clock steady;

int pairs = 21;
double slice_ms = 20;

void pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

int cores() { return static_cast<int>(std::thread::hardware_concurrency()); }

class pthread_spin {
public:
    pthread_spin() { pthread_spin_init(&spin_, 0); }
    void lock() { pthread_spin_lock(&spin_); }
    bool try_lock() { return pthread_spin_trylock(&spin_) == 0; }
    void unlock() { pthread_spin_unlock(&spin_); }

private:
    pthread_spinlock_t spin_;
};

struct theirs {
    std::condition_variable_any cv;
    template <class L>
    void wait(L &lock) { cv.wait(lock); }
    void notify_one() { cv.notify_one(); }
};

unwedge::stop_domain &domain() {
    static unwedge::stop_domain stop("bench");
    return stop;
}

struct ours {
    unwedge::condition_variable_any cv;
    template <class L>
    void wait(L &lock) { cv.wait(domain(), lock); }
    void notify_one() { cv.notify_one(); }
};

/// Nanoseconds a round, of as many rounds as the slice has room for.
template <class Round>
double timed(Round rounds) {
    long count = 64;
    for (;;) {
        const auto begun = steady::now();
        rounds(count);
        const double ns = std::chrono::duration<double, std::nano>(steady::now() - begun).count();
        if (ns >= slice_ms * 1e6 / 2) return ns / static_cast<double>(count);
        count = ns <= 0 ? count * 16 : std::max(count + 1, std::min(count * 16, static_cast<long>(static_cast<double>(count) * slice_ms * 1e6 / ns)));
    }
}

/// Two threads take turns, each waiting for the other: there and back is a round.
template <class Cond, class Mutex>
double ping_pong(int first, int second) {
    return timed([=](long count) {
        Mutex mutex;
        Cond cond[2];
        int turn = 0;
        auto play = [&](int mine, int core) {
            pin(core);
            std::unique_lock<Mutex> guard(mutex);
            for (long i = 0; i < count; ++i) {
                while (turn != mine) cond[mine].wait(guard);
                turn = 1 - mine;
                cond[1 - mine].notify_one();
            }
        };
        std::thread other(play, 1, second);
        play(0, first);
        other.join();
    });
}

/// Nobody waits now; somebody did before.
template <class Cond>
double notify_idle() {
    Cond cond;
    std::mutex mutex;
    bool waits = false, woken = false;
    std::thread waiter([&] {
        std::unique_lock<std::mutex> guard(mutex);
        waits = true;
        while (!woken) cond.wait(guard);
    });
    while (!woken) {
        std::lock_guard<std::mutex> guard(mutex);
        woken = waits;
    }
    cond.notify_one();
    waiter.join();
    return timed([&](long count) {
        for (long i = 0; i < count; ++i) cond.notify_one();
    });
}

double ready_theirs() {
    return timed([](long count) {
        for (long i = 0; i < count; ++i) {
            std::promise<int> promise;
            std::future<int> future = promise.get_future();
            promise.set_value(static_cast<int>(i));
            if (future.get() != static_cast<int>(i)) std::abort();
        }
    });
}

double ready_ours() {
    return timed([](long count) {
        for (long i = 0; i < count; ++i) {
            auto both = unwedge::owe<int>(domain(), "bench");
            both.owes.complete(static_cast<int>(i));
            if (both.result.wait() != static_cast<int>(i)) std::abort();
        }
    });
}

/// One thread gives the other an answer each round. The one that answers is told by a slot, in the same way for both.
template <class Owes, class Make>
double answered(int first, int second, Make make) {
    return timed([=](long count) {
        std::atomic<Owes *> slot(nullptr);
        std::thread other([&, second] {
            pin(second);
            for (long i = 0; i < count; ++i) {
                Owes *owes;
                while ((owes = slot.exchange(nullptr)) == nullptr) sched_yield();
                owes->answer(static_cast<int>(i));
                delete owes;
            }
        });
        pin(first);
        for (long i = 0; i < count; ++i) make(slot, static_cast<int>(i));
        other.join();
    });
}

struct owes_theirs {
    std::promise<int> promise;
    void answer(int value) { promise.set_value(value); }
};
struct owes_ours {
    unwedge::completer<int> owes;
    void answer(int value) { owes.complete(value); }
};

double answered_theirs(int first, int second) {
    return answered<owes_theirs>(first, second, [](std::atomic<owes_theirs *> &slot, int expected) {
        owes_theirs *owes = new owes_theirs;
        std::future<int> future = owes->promise.get_future();
        slot = owes;
        if (future.get() != expected) std::abort();
    });
}

double answered_ours(int first, int second) {
    return answered<owes_ours>(first, second, [](std::atomic<owes_ours *> &slot, int expected) {
        auto both = unwedge::owe<int>(domain(), "bench");
        slot = new owes_ours{std::move(both.owes)};
        if (both.result.wait() != expected) std::abort();
    });
}

double median(std::vector<double> of) {
    std::sort(of.begin(), of.end());
    return of[of.size() / 2];
}

bool all_met = true;

void group(const char *name, double bar, const std::function<double()> &our, const std::function<double()> &their) {
    std::vector<double> ours, theirs, ratios;
    our();
    their();
    for (int i = 0; i < pairs; ++i) {
        // Who goes first changes, so that neither profits from it.
        const double first = i % 2 ? their() : our();
        const double second = i % 2 ? our() : their();
        ours.push_back(i % 2 ? second : first);
        theirs.push_back(i % 2 ? first : second);
        ratios.push_back(ours.back() / theirs.back());
    }
    std::sort(ratios.begin(), ratios.end());
    // The true median lies between these ranks with 95 %: n/2 -+ 0.98 sqrt(n).
    const int wide = static_cast<int>(0.98 * std::sqrt(static_cast<double>(pairs)) + 1);
    const double low = ratios[static_cast<std::size_t>(std::max(0, pairs / 2 - wide))];
    const double high = ratios[static_cast<std::size_t>(std::min(pairs - 1, pairs / 2 + wide))];
    const double mid = ratios[static_cast<std::size_t>(pairs / 2)];
    const char *met = high <= bar ? "yes" : low > bar ? "NO" : mid <= bar ? "likely" : "unlikely";
    all_met = all_met && mid <= bar;
    std::printf("| %s | %.1f | %.1f | %.3f | %.3f to %.3f | <= %.1f | %s |\n", name, median(ours), median(theirs), mid, low, high, bar, met);
    std::fflush(stdout);
}

}  // namespace

int main(int argc, char **argv) {
    if (argc > 1) pairs = std::max(3, std::atoi(argv[1]));
    if (argc > 2) slice_ms = std::max(1, std::atoi(argv[2]));
    // The C library leaves locked instructions out where there is one thread alone. A daemon has more.
    domain().spawn("bystander", [] { domain().wait_for(std::chrono::hours(1)); });
    std::printf("| group | ours, ns | std, ns | ratio | 95 %% interval | must be | met |\n|---|---|---|---|---|---|---|\n");
    group("notify, nobody waits", 0.2, notify_idle<ours>, notify_idle<theirs>);
    group("ping-pong, std::mutex, 1 core", 1.0, [] { return ping_pong<ours, std::mutex>(0, 0); }, [] { return ping_pong<theirs, std::mutex>(0, 0); });
    group("ping-pong, spinlock, 1 core", 1.0, [] { return ping_pong<ours, pthread_spin>(0, 0); }, [] { return ping_pong<theirs, pthread_spin>(0, 0); });
    if (cores() > 1) {
        group("ping-pong, std::mutex, 2 cores", 1.0, [] { return ping_pong<ours, std::mutex>(0, 1); }, [] { return ping_pong<theirs, std::mutex>(0, 1); });
        group("ping-pong, spinlock, 2 cores", 1.0, [] { return ping_pong<ours, pthread_spin>(0, 1); }, [] { return ping_pong<theirs, pthread_spin>(0, 1); });
    }
    group("completion, ready", 1.0, ready_ours, ready_theirs);
    group("completion, thread, 1 core", 1.0, [] { return answered_ours(0, 0); }, [] { return answered_theirs(0, 0); });
    if (cores() > 1) group("completion, thread, 2 cores", 1.0, [] { return answered_ours(0, 1); }, [] { return answered_theirs(0, 1); });
    domain().shutdown(unwedge::plan(std::chrono::seconds(10)));
    return all_met ? 0 : 3;
}
