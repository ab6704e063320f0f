// The locks that the template is tried over: the standard library's, boost's, tbb's, and some of one's own.
#ifndef LOCKS_HPP
#define LOCKS_HPP

#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <thread>
#if __cplusplus >= 201402L
#include <shared_mutex>
#endif

#if defined(WITH_BOOST)
#include <boost/thread/locks.hpp>
#include <boost/thread/mutex.hpp>
#include <boost/thread/recursive_mutex.hpp>
#include <boost/thread/shared_mutex.hpp>
#endif
#if defined(WITH_TBB)
#include <tbb/spin_mutex.h>
#endif

#include "unwedge.hpp"

/// A spinlock of the C library: Lockable.
class pthread_spin {
public:
    pthread_spin() { pthread_spin_init(&spin_, 0); }
    ~pthread_spin() { pthread_spin_destroy(&spin_); }
    pthread_spin(const pthread_spin &) = delete;
    pthread_spin &operator=(const pthread_spin &) = delete;
    void lock() { pthread_spin_lock(&spin_); }
    bool try_lock() { return pthread_spin_trylock(&spin_) == 0; }
    void unlock() { pthread_spin_unlock(&spin_); }

private:
    pthread_spinlock_t spin_;
};

/// First come, first served, and no more than BasicLockable.
class ticket_lock {
public:
    void lock() {
        const unsigned mine = next_.fetch_add(1);
        while (serving_.load() != mine) std::this_thread::yield();
    }
    void unlock() { serving_.fetch_add(1); }

private:
    std::atomic<unsigned> next_{0}, serving_{0};
};

/// First come, first served, sleeping, and Lockable: who tries while anybody queues is refused.
class fair_mutex {
public:
    void lock() {
        std::unique_lock<std::mutex> guard(inner_);
        const std::uint64_t mine = next_++;
        moved_.wait(guard, [&] { return serving_ == mine; });
    }
    bool try_lock() {
        std::lock_guard<std::mutex> guard(inner_);
        if (serving_ != next_) return false;
        ++next_;
        return true;
    }
    void unlock() {
        {
            std::lock_guard<std::mutex> guard(inner_);
            ++serving_;
        }
        moved_.notify_all();
    }

private:
    std::mutex inner_;
    std::condition_variable moved_;
    std::uint64_t next_ = 0, serving_ = 0;
};

/// The same, of which a wait is told not to use the `try_lock`: it stands in the queue.
class queued_mutex : public fair_mutex {
public:
    bool try_lock() { std::abort(); }
};

namespace unwedge {
template <>
struct lock_traits<std::unique_lock<queued_mutex>> {
    typedef queued_mutex mutex;
    static constexpr bool can_try = false;
    static constexpr bool can_try_for = false;
};
}  // namespace unwedge

/// A mutex that is waited with itself, and not through a guard that owns it.
template <class M>
class bare {
public:
    explicit bare(M &mutex) : mutex_(&mutex) { mutex_->lock(); }
    M &target() { return *mutex_; }
    void unlock() { mutex_->unlock(); }

private:
    M *mutex_;
};

template <class L>
L &target(L &lock) {
    return lock;
}
template <class M>
M &target(bare<M> &lock) {
    return lock.target();
}

/// A kind of lock: the mutex, and how it is held by those who wait.
template <class M, class L>
struct over {
    typedef M mutex;
    typedef L lock;
};

/// Calls `run<Kind>(name)` for each kind.
template <template <class> class Run>
void for_each_kind() {
    Run<over<std::mutex, std::unique_lock<std::mutex>>>::run("unique_lock<std::mutex>");
    Run<over<std::mutex, bare<std::mutex>>>::run("std::mutex");
    Run<over<std::recursive_mutex, std::unique_lock<std::recursive_mutex>>>::run("unique_lock<std::recursive_mutex>");
    Run<over<std::timed_mutex, std::unique_lock<std::timed_mutex>>>::run("unique_lock<std::timed_mutex>");
    Run<over<std::recursive_timed_mutex, bare<std::recursive_timed_mutex>>>::run("std::recursive_timed_mutex");
    Run<over<pthread_spin, std::unique_lock<pthread_spin>>>::run("unique_lock<pthread spinlock>");
    Run<over<pthread_spin, bare<pthread_spin>>>::run("pthread spinlock");
    Run<over<ticket_lock, bare<ticket_lock>>>::run("ticket lock");
    Run<over<ticket_lock, std::unique_lock<ticket_lock>>>::run("unique_lock<ticket lock>");
    Run<over<fair_mutex, std::unique_lock<fair_mutex>>>::run("unique_lock<fair mutex>");
    Run<over<queued_mutex, std::unique_lock<queued_mutex>>>::run("unique_lock<fair mutex> in its queue");
#if __cplusplus >= 201402L
    Run<over<std::shared_timed_mutex, std::unique_lock<std::shared_timed_mutex>>>::run("unique_lock<std::shared_timed_mutex>");
    Run<over<std::shared_timed_mutex, std::shared_lock<std::shared_timed_mutex>>>::run("shared_lock<std::shared_timed_mutex>");
#endif
#if __cplusplus >= 201703L
    Run<over<std::shared_mutex, std::unique_lock<std::shared_mutex>>>::run("unique_lock<std::shared_mutex>");
    Run<over<std::shared_mutex, std::shared_lock<std::shared_mutex>>>::run("shared_lock<std::shared_mutex>");
#endif
#if defined(WITH_BOOST)
    Run<over<boost::mutex, boost::unique_lock<boost::mutex>>>::run("boost::unique_lock<boost::mutex>");
    Run<over<boost::recursive_mutex, boost::unique_lock<boost::recursive_mutex>>>::run("boost::unique_lock<boost::recursive_mutex>");
    Run<over<boost::timed_mutex, bare<boost::timed_mutex>>>::run("boost::timed_mutex");
    Run<over<boost::shared_mutex, boost::unique_lock<boost::shared_mutex>>>::run("boost::unique_lock<boost::shared_mutex>");
    Run<over<boost::shared_mutex, boost::shared_lock<boost::shared_mutex>>>::run("boost::shared_lock<boost::shared_mutex>");
#endif
#if defined(WITH_TBB)
    Run<over<tbb::spin_mutex, std::unique_lock<tbb::spin_mutex>>>::run("unique_lock<tbb::spin_mutex>");
    Run<over<tbb::spin_mutex, bare<tbb::spin_mutex>>>::run("tbb::spin_mutex");
#endif
}

#endif
