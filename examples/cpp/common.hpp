// What both builds of the daemon share: Ceph's Context, a store that can be frozen, and the drill. No wait of the daemon's is in here.
#ifndef COMMON_HPP
#define COMMON_HPP

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

typedef std::string bufferlist;

/// A callback that is called once, and deletes itself.
class Context {
public:
    virtual ~Context() {}
    virtual void complete(int r) {
        finish(r);
        delete this;
    }

protected:
    virtual void finish(int r) = 0;
};

class LambdaContext : public Context {
public:
    explicit LambdaContext(std::function<void(int)> f) : f_(std::move(f)) {}

protected:
    void finish(int r) override { f_(r); }

private:
    std::function<void(int)> f_;
};

/// Storage as an Objecter gives it: a thread of its own writes into the caller's buffer and completes the caller's context. While it is frozen nothing is
/// answered.
class store {
public:
    store() : thread_([this] { serve(); }) {}
    ~store() {
        {
            std::lock_guard<std::mutex> guard(lock_);
            over_ = true;
        }
        changed_.notify_all();
        thread_.join();
    }
    void read(const std::string &object, bufferlist *into, Context *on_finish) {
        std::lock_guard<std::mutex> guard(lock_);
        asked_.push_back(request{object, into, on_finish});
        changed_.notify_all();
    }
    void freeze(bool yes) {
        std::lock_guard<std::mutex> guard(lock_);
        frozen_ = yes;
        changed_.notify_all();
    }
    /// Fails what was not answered: what an Objecter does when it is shut down.
    void shutdown() {
        std::deque<request> left;
        {
            std::lock_guard<std::mutex> guard(lock_);
            left.swap(asked_);
        }
        for (request &each : left) each.on_finish->complete(-ESHUTDOWN);
    }
    /// Waits until so many reads are not answered.
    void until_asked(std::size_t count) {
        std::unique_lock<std::mutex> guard(lock_);
        changed_.wait(guard, [&] { return asked_.size() >= count; });
    }

private:
    struct request {
        std::string object;
        bufferlist *into;
        Context *on_finish;
    };
    void serve() {
        std::unique_lock<std::mutex> guard(lock_);
        for (;;) {
            changed_.wait(guard, [this] { return over_ || (!frozen_ && !asked_.empty()); });
            if (asked_.empty() || frozen_) return;
            request next = asked_.front();
            asked_.pop_front();
            guard.unlock();
            if (next.into != nullptr) *next.into = "what is in " + next.object;
            next.on_finish->complete(0);
            guard.lock();
        }
    }
    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<request> asked_;
    bool frozen_ = false, over_ = false;
    std::thread thread_;
};

/// Which deadlock of the catalogue the drill is after.
///
/// 1: the stop joins a replay thread that waits for storage.
/// 2: the stop joins the finisher with the big lock held, and a callback there needs the lock.
/// 7: the stop waits with the big lock held for an admin hook that waits for storage, and then needs the lock.
enum class shape { replay = 1, finisher = 2, hook = 7 };

/// Brings a daemon up, freezes its storage, and stops it.
template <class Daemon>
int drill(int argc, char **argv) {
    const int number = argc > 1 ? std::atoi(argv[1]) : 1;
    if (number != 1 && number != 2 && number != 7) {
        std::fprintf(stderr, "usage: %s 1|2|7\n", argv[0]);
        return 2;
    }
    const shape which = static_cast<shape>(number);
    store objects;
    Daemon daemon(objects);
    daemon.boot();
    objects.freeze(true);
    if (which == shape::replay) daemon.begin_replay();
    if (which == shape::finisher) daemon.begin_prefetch();
    if (which == shape::hook) daemon.begin_flush();
    objects.until_asked(1);
    const auto begun = std::chrono::steady_clock::now();
    daemon.stop();
    const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count();
    std::printf("stopped in %.1f ms\n", ms);
    // The storage comes back after all: late replies must find nothing that is gone.
    objects.freeze(false);
    return 0;
}

#endif
