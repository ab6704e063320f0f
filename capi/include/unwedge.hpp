// unwedge for C++11 and later: locks, waits and metadata I/O that always stop. Header-only, over unwedge.h; link with -lunwedge.
//
//     unwedge::stop_domain stop("mds.a");
//     unwedge::condition_variable_any changed;
//     std::unique_lock<std::mutex> guard(lock);
//     while (!ready) changed.wait(stop, guard);      // throws unwedge::stopped, and `guard` owns nothing then
//
// | to | see |
// |---|---|
// | stop a life of a daemon, and all that waits in it | stop_domain, plan, step, report, on_inversion() |
// | wait on a condition, over any lock | condition_variable_any |
// | wait for a result, with or without a lock | completion<T>, completer<T>, owe() |
// | have the lock itself taken stoppably | monitor<T, Lock> |
// | read and write files | io, file, bytes |
//
// What waits, takes a lock or starts a thread has two forms: one that throws, and one with std::nothrow (or that is `noexcept` as it is) that gives a status,
// an outcome<T> or a guard that may be empty. What else throws does so for a wrong argument or for want of memory or of a callback thread. Without exceptions
// (-fno-exceptions) the throwing forms end the program with std::terminate.
//
// Stopped means unlocked: after a stop the lock that was given to a wait is NOT held. A std::unique_lock, std::shared_lock or boost::unique_lock says so
// itself (owns_lock() is false); who waits with a bare lock looks at the exception or the status, and must not unlock.
//
// PORTING.md has what to do with a nested lock_guard, an adopted lock, a recursive lock, and assertions that the lock is held.
#ifndef UNWEDGE_HPP
#define UNWEDGE_HPP

#include "unwedge.h"

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace unwedge {

// ---- Results and errors ---------------------------------------------------------------------------------------------------------------------

/// What became of a call: 0 or more, or the negative of an errno (see unwedge.h).
class status {
public:
    constexpr status() noexcept : code_(0) {}
    constexpr explicit status(int code) noexcept : code_(code) {}
    constexpr int code() const noexcept { return code_; }
    constexpr explicit operator bool() const noexcept { return code_ >= 0; }
    /// A stop ended it: the lock is not held.
    constexpr bool is_stopped() const noexcept { return code_ == -ECANCELED; }
    /// The time was up: the lock is held.
    constexpr bool is_timed_out() const noexcept { return code_ == -ETIMEDOUT; }
    const char *what() const noexcept { return unwedge_strerror(code_); }

private:
    int code_;
};

/// A stop ended the wait: the lock is not held.
class stopped : public std::exception {
public:
    const char *what() const noexcept override { return unwedge_strerror(-ECANCELED); }
};

/// Who owed the result let go of it.
class abandoned : public std::exception {
public:
    const char *what() const noexcept override { return unwedge_strerror(-EOWNERDEAD); }
};

/// Any other failure: its errno, as a std::error_code of the generic category.
class failure : public std::system_error {
public:
    explicit failure(int code) : std::system_error(code < 0 ? -code : code, std::generic_category()) {}
};

namespace detail {

/// Throws what a code says; ends the program where there are no exceptions.
[[noreturn]] inline void raise(long long code) {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
    if (code == -ECANCELED) throw stopped();
    if (code == -EOWNERDEAD) throw abandoned();
    throw failure(static_cast<int>(code));
#else
    static_cast<void>(code);
    std::terminate();
#endif
}

/// Throws what an operation came to. One that was cancelled is a failure like any other: `stopped` says that a wait was ended, and its lock let go.
[[noreturn]] inline void raise_result(long long result) {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
    if (result == -ECANCELED) throw failure(ECANCELED);
#endif
    raise(result);
}

inline int check(int code) {
    if (code < 0) raise(code);
    return code;
}

/// A counted handle of the C ABI. Moves only; `share` counts it once more.
template <class H, int (*Ref)(const H *), void (*Release)(H *)>
class handle {
public:
    handle() noexcept : raw_(nullptr) {}
    explicit handle(H *raw) noexcept : raw_(raw) {}
    handle(handle &&other) noexcept : raw_(other.raw_) { other.raw_ = nullptr; }
    handle &operator=(handle &&other) noexcept {
        handle before(std::move(other));  // takes what was here along, and releases it
        std::swap(raw_, before.raw_);
        return *this;
    }
    handle(const handle &) = delete;
    handle &operator=(const handle &) = delete;
    ~handle() {
        if (raw_ != nullptr) Release(raw_);
    }
    H *get() const noexcept { return raw_; }
    H **place() noexcept { return &raw_; }
    explicit operator bool() const noexcept { return raw_ != nullptr; }
    handle share() const noexcept {
        if (raw_ != nullptr) Ref(raw_);
        return handle(raw_);
    }

private:
    H *raw_;
};

inline int no_ref(const unwedge_plan_t *) { return 0; }

typedef handle<unwedge_stop_t, unwedge_stop_ref, unwedge_stop_release> stop_handle;
typedef handle<unwedge_plan_t, no_ref, unwedge_plan_release> plan_handle;
typedef handle<unwedge_report_t, unwedge_report_ref, unwedge_report_release> report_handle;
typedef handle<unwedge_condvar_t, unwedge_condvar_ref, unwedge_condvar_release> condvar_handle;
typedef handle<unwedge_completion_t, unwedge_completion_ref, unwedge_completion_release> completion_handle;
typedef handle<unwedge_completer_t, unwedge_completer_ref, unwedge_completer_release> completer_handle;
typedef handle<unwedge_monitor_t, unwedge_monitor_ref, unwedge_monitor_release> monitor_handle;
typedef handle<unwedge_io_t, unwedge_io_ref, unwedge_io_release> io_handle;
typedef handle<unwedge_file_t, unwedge_file_ref, unwedge_file_release> file_handle;

/// Nanoseconds for the C ABI: never negative, and -1 (for ever) for what would not fit.
template <class Rep, class Period>
std::int64_t nanoseconds(const std::chrono::duration<Rep, Period> &time) {
    const double seconds = std::chrono::duration<double>(time).count();
    if (!(seconds > 0)) return 0;
    if (seconds > 9e9) return -1;
    const std::int64_t exact = std::chrono::duration_cast<std::chrono::nanoseconds>(time).count();
    return exact > 0 ? exact : 1;
}

/// The same for a limit, which is never for ever: what would not fit is as much as fits.
template <class Rep, class Period>
std::int64_t limit(const std::chrono::duration<Rep, Period> &time) {
    const std::int64_t exact = nanoseconds(time);
    return exact < 0 ? INT64_MAX : exact;
}

template <class Clock, class Duration>
std::int64_t until(const std::chrono::time_point<Clock, Duration> &deadline) {
    typedef std::chrono::duration<double> seconds;
    const typename Clock::time_point now = Clock::now();
    // Roughly, first: the difference of what is far apart, or of coarse units, does not fit.
    const double end = seconds(deadline.time_since_epoch()).count();
    const double rough = end - seconds(now.time_since_epoch()).count();
    if (rough > 9e9 || end > 9e9) return -1;
    return rough > -1 ? nanoseconds(deadline - now) : 0;
}

/// As snprintf-like functions of the C ABI write: asks for the length, then writes.
template <class Write>
std::string text(Write write) {
    std::string out;
    for (;;) {
        const int need = check(write(out.empty() ? nullptr : &out[0], out.size()));
        if (static_cast<std::size_t>(need) < out.size()) {
            out.resize(static_cast<std::size_t>(need));
            return out;
        }
        out.resize(static_cast<std::size_t>(need) + 1);
    }
}

/// Calls a function object from C, and frees it.
template <class F>
struct boxed {
    static void call(void *box) noexcept {
        std::unique_ptr<F> f(static_cast<F *>(box));
        (*f)();
    }
    static void call_lent(void *box) noexcept { (*static_cast<F *>(box))(); }
    static void tell(void *box, const char *text) noexcept { (*static_cast<F *>(box))(text); }
    static void free(void *box) noexcept { delete static_cast<F *>(box); }
};

}  // namespace detail

// ---- Locks ----------------------------------------------------------------------------------------------------------------------------------

namespace detail {

template <class T>
struct always_void {
    typedef void type;
};

template <class L, class = void>
struct mutex_of {
    typedef L type;
};
template <class L>
struct mutex_of<L, typename always_void<typename L::mutex_type>::type> {
    typedef typename L::mutex_type type;
};

template <class M, class = void>
struct has_try_lock : std::false_type {};
template <class M>
struct has_try_lock<M, typename always_void<decltype(std::declval<M &>().try_lock())>::type> : std::true_type {};

template <class M, class = void>
struct has_try_lock_for : std::false_type {};
template <class M>
struct has_try_lock_for<
    M, typename always_void<decltype(std::declval<M &>().try_lock_for(std::declval<std::chrono::nanoseconds>()))>::type>
    : std::true_type {};

}  // namespace detail

/// What a lock can do beside lock() and unlock(): found out from the lock, or, for a std::unique_lock and its like, from the mutex that it names. Specialise it
/// for a lock that has a try_lock which is not to be used, or which cannot be compiled.
///
/// | the lock is | after a notification it is taken again | a stop meanwhile |
/// |---|---|---|
/// | TimedLockable | by try_lock_for, in its own queue, in slices | is seen within 10 ms and as long again as that has lasted, at most 320 ms |
/// | Lockable | by try_lock, polling | is seen within 1 ms |
/// | BasicLockable | by lock() | is seen when the lock is free: bounded only if its other users let go of it |
template <class Lock>
struct lock_traits {
    typedef typename detail::mutex_of<Lock>::type mutex;
    static constexpr bool can_try = detail::has_try_lock<mutex>::value;
    static constexpr bool can_try_for = detail::has_try_lock_for<mutex>::value;
};

namespace detail {

/// A lock for the time of one call, and what it threw.
template <class Lock>
class lent_lock {
public:
    explicit lent_lock(Lock &lock) noexcept : lock_(&lock) {}

    static const unwedge_lock_ops_t *ops() noexcept {
        static const unwedge_lock_ops_t all = {lock, unlock, try_lock_if(can_try()), try_lock_for_if(can_try_for()),
                                               {nullptr, nullptr, nullptr, nullptr}};
        return &all;
    }

    /// Throws what the lock threw, if it did.
    void rethrow() const {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
        if (thrown_) std::rethrow_exception(thrown_);
#endif
    }

private:
    typedef std::integral_constant<bool, lock_traits<Lock>::can_try> can_try;
    typedef std::integral_constant<bool, lock_traits<Lock>::can_try_for> can_try_for;
    typedef int (*try_fn)(void *);
    typedef int (*try_for_fn)(void *, std::int64_t);

    template <class F>
    int guarded(F f) noexcept {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
        try {
            return f() ? 0 : EBUSY;
        } catch (...) {
            thrown_ = std::current_exception();
            return ENOLCK;
        }
#else
        return f() ? 0 : EBUSY;
#endif
    }

    static lent_lock &of(void *self) noexcept { return *static_cast<lent_lock *>(self); }

    static int lock(void *self) noexcept {
        Lock *const lock = of(self).lock_;
        return of(self).guarded([lock] {
            lock->lock();
            return true;
        });
    }
    static void unlock(void *self) noexcept { of(self).lock_->unlock(); }

    template <class Self>
    static int try_lock(void *self) noexcept {
        Lock *const lock = static_cast<Self *>(self)->lock_;
        return of(self).guarded([lock] { return static_cast<bool>(lock->try_lock()); });
    }
    template <class Self>
    static int try_lock_for(void *self, std::int64_t time) noexcept {
        Lock *const lock = static_cast<Self *>(self)->lock_;
        return of(self).guarded([lock, time] { return static_cast<bool>(lock->try_lock_for(std::chrono::nanoseconds(time))); });
    }

    // Only the chosen ones are compiled.
    static try_fn try_lock_if(std::true_type) noexcept { return &try_lock<lent_lock>; }
    static try_fn try_lock_if(std::false_type) noexcept { return nullptr; }
    static try_for_fn try_lock_for_if(std::true_type) noexcept { return &try_lock_for<lent_lock>; }
    static try_for_fn try_lock_for_if(std::false_type) noexcept { return nullptr; }

    Lock *lock_;
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
    std::exception_ptr thrown_;
#endif
};

}  // namespace detail

// ---- Reports --------------------------------------------------------------------------------------------------------------------------------

/// Who has not ended, and where it waits, at a moment.
class report {
public:
    report() noexcept {}
    explicit report(detail::report_handle raw) noexcept : raw_(std::move(raw)) {}
    /// Whether everything has ended.
    bool is_clean() const noexcept { return unwedge_report_is_clean(raw_.get()) == 1; }
    /// How many threads and tasks have not ended.
    int members() const noexcept { return unwedge_report_members(raw_.get()); }
    /// How many contradicting orders of locks and waits this process has come upon: see on_inversion().
    int inversions() const noexcept { return unwedge_report_inversions(raw_.get()); }
    /// For people.
    std::string text() const { return write(UNWEDGE_TEXT); }
    /// For programs.
    std::string json() const { return write(UNWEDGE_JSON); }
    /// For Graphviz.
    std::string dot() const { return write(UNWEDGE_DOT); }
    /// In one of the forms of unwedge.h.
    std::string write(int form) const {
        const unwedge_report_t *const raw = raw_.get();
        return detail::text([raw, form](char *place, std::size_t size) { return unwedge_report_write(raw, form, place, size); });
    }

private:
    detail::report_handle raw_;
};

// ---- Stop domains ---------------------------------------------------------------------------------------------------------------------------

class plan;
template <class T, class Lock = std::mutex>
class monitor;

/// A stop domain: one for each life of a daemon. When its last handle goes its stop is requested.
class stop_domain {
public:
    /// A domain of which reports speak by this name.
    explicit stop_domain(const char *name) { detail::check(unwedge_stop_new(name, nullptr, nullptr, nullptr, raw_.place())); }
    explicit stop_domain(const std::string &name) : stop_domain(name.c_str()) {}
    /// `on_thread_start(const char *name)` runs first on every thread that the domain starts. It must not throw.
    template <class F>
    stop_domain(const char *name, F on_thread_start) {
        std::unique_ptr<F> box(new F(std::move(on_thread_start)));
        detail::check(unwedge_stop_new(
            name, [](void *arg, const char *thread) { started<F>(arg, thread); }, box.get(), &detail::boxed<F>::free, raw_.place()));
        static_cast<void>(box.release());
    }
    explicit stop_domain(detail::stop_handle raw) noexcept : raw_(std::move(raw)) {}

    /// Another handle of the same domain.
    stop_domain share() const noexcept { return stop_domain(raw_.share()); }
    /// A part of it, with a stop of its own.
    stop_domain child(const char *name) const {
        detail::stop_handle made;
        detail::check(unwedge_stop_child(raw_.get(), name, made.place()));
        return stop_domain(std::move(made));
    }
    /// Requests the stop: from any thread, under any lock, any number of times. Whether this was the first request.
    bool request(const char *reason) const noexcept { return unwedge_stop_request(raw_.get(), reason) == 1; }
    /// Requests the stop and takes all time away from its shutdowns: an operator's second signal. Whether this was the first hurry.
    bool hurry(const char *reason) const noexcept { return unwedge_stop_hurry(raw_.get(), reason) == 1; }
    bool is_hurried() const noexcept { return unwedge_stop_is_hurried(raw_.get()) == 1; }
    /// Which of the process's domains this is: greater than that of any that was made before.
    std::uint64_t generation() const noexcept {
        std::uint64_t number = 0;
        unwedge_stop_generation(raw_.get(), &number);
        return number;
    }
    /// Whether it was requested: one load.
    bool is_requested() const noexcept { return unwedge_stop_is_requested(raw_.get()) == 1; }
    /// Why, once it was requested.
    std::string reason() const {
        const unwedge_stop_t *const raw = raw_.get();
        return detail::text([raw](char *place, std::size_t size) { return unwedge_stop_reason(raw, place, size); });
    }
    /// Sleeps, but not past a stop: whether it was requested.
    template <class Rep, class Period>
    bool wait_for(const std::chrono::duration<Rep, Period> &time) const noexcept {
        return unwedge_stop_wait(raw_.get(), detail::nanoseconds(time)) == 1;
    }
    /// Starts a thread of the domain, for which a shutdown waits. An unwedge::stopped that leaves `body` ends the thread in peace; any other exception ends the
    /// program, as a std::thread's does.
    template <class F>
    void spawn(const char *name, F body) const {
        detail::check(spawn(std::nothrow, name, std::move(body)).code());
    }
    /// The form that does not throw: what is not 0 has started nothing.
    template <class F>
    status spawn(std::nothrow_t, const char *name, F body) const {
        std::unique_ptr<F> box(new F(std::move(body)));
        const status started(unwedge_stop_spawn(raw_.get(), name, &run<F>, box.get()));
        if (started) static_cast<void>(box.release());
        return started;
    }
    /// Who has not ended, and where it waits: at any time.
    unwedge::report report() const {
        detail::report_handle made;
        detail::check(unwedge_stop_report(raw_.get(), made.place()));
        return unwedge::report(std::move(made));
    }
    /// Requests the stop, waits for the threads, runs the plan's phases, closes the I/O.
    inline unwedge::report shutdown(plan &&what) const;
    /// As `shutdown`, by who holds a lock: it is let go before the phases.
    template <class Lock>
    unwedge::report shutdown_holding(Lock &lock, plan &&what) const;

    unwedge_stop_t *get() const noexcept { return raw_.get(); }

private:
    template <class F>
    static void started(void *arg, const char *thread) noexcept {
        (*static_cast<F *>(arg))(thread);
    }
    template <class F>
    static void run(void *box) noexcept {
        std::unique_ptr<F> body(static_cast<F *>(box));
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
        try {
            (*body)();
        } catch (const stopped &) {
        }
#else
        (*body)();
#endif
    }
    detail::stop_handle raw_;
};

/// What a step of a plan needs, beside what it does: see plan::step.
class step {
public:
    /// Called so in reports, within this time.
    template <class Rep, class Period>
    step(const std::string &name, const std::chrono::duration<Rep, Period> &limit) : name_(name), limit_(detail::limit(limit)), flags_(0) {}
    /// It runs before the threads of the domain are waited for.
    step &&before_join() && {
        flags_ |= UNWEDGE_STEP_BEFORE_JOIN;
        return std::move(*this);
    }
    /// A late one ends the process, with a report.
    step &&or_abort() && {
        flags_ |= UNWEDGE_STEP_OR_ABORT;
        return std::move(*this);
    }
    /// It takes this monitor itself: where who shuts down holds it, or a phase that was left, the phase fails at once.
    template <class T, class Lock>
    step &&not_holding(const monitor<T, Lock> &of) && {
        apart_.push_back(of.share());
        return std::move(*this);
    }

private:
    friend class plan;
    std::string name_;
    std::int64_t limit_;
    int flags_;
    std::vector<detail::monitor_handle> apart_;
};

/// What a shutdown does, and in what time.
class plan {
public:
    /// A shutdown that returns within this time, whoever is left then.
    template <class Rep, class Period>
    explicit plan(const std::chrono::duration<Rep, Period> &within) {
        detail::check(unwedge_plan_new(detail::limit(within), raw_.place()));
    }
    /// How long operations that the kernel has not given back are waited for.
    template <class Rep, class Period>
    plan &&drain(const std::chrono::duration<Rep, Period> &limit) && {
        detail::check(unwedge_plan_drain(raw_.get(), detail::limit(limit)));
        return std::move(*this);
    }
    /// Adds a phase: `step(const stop_domain &phase)`, after the request, on a thread of its own and within its limit. An exception that leaves it is a failure
    /// of the phase, which the report tells.
    template <class Rep, class Period, class F>
    plan &&phase(const char *name, const std::chrono::duration<Rep, Period> &limit, F step) && {
        std::unique_ptr<F> box(new F(std::move(step)));
        detail::check(unwedge_plan_phase(raw_.get(), name, detail::limit(limit), &run<F>, box.get(), &detail::boxed<F>::free));
        static_cast<void>(box.release());
        return std::move(*this);
    }
    /// As `phase`, with a step that says more about itself.
    template <class F>
    plan &&step(const unwedge::step &what, F run) && {
        add(what, nullptr, std::move(run));
        return std::move(*this);
    }
    /// The same, with a monitor: `run(const stop_domain &phase, guard &held)`, whose lock is taken in the phase before. Where who shuts down holds it, or a phase
    /// that was left, the phase fails at once.
    template <class T, class Lock, class F>
    plan &&step(const unwedge::step &what, const monitor<T, Lock> &held, F run) && {
        const detail::monitor_handle kept = held.share();
        unwedge_monitor_t *const raw = kept.get();
        add(what, raw, with_guard<monitor<T, Lock>, F>{raw, std::move(run)});
        return std::move(*this);
    }
    unwedge_plan_t *get() const noexcept { return raw_.get(); }

private:
    template <class Monitor, class F>
    struct with_guard {
        unwedge_monitor_t *raw;
        F run;
        void operator()(const stop_domain &phase) {
            typename Monitor::guard held(raw);
            run(phase, held);
        }
    };
    template <class F>
    void add(const unwedge::step &what, const unwedge_monitor_t *holding, F run_it) {
        std::vector<const unwedge_monitor_t *> apart;
        for (const detail::monitor_handle &of : what.apart_) apart.push_back(of.get());
        std::unique_ptr<F> box(new F(std::move(run_it)));
        const unwedge_step_t all = {what.name_.c_str(), what.limit_, &run<F>, box.get(), &detail::boxed<F>::free, what.flags_, holding, apart.data(), apart.size(),
                                    {nullptr, nullptr, nullptr, nullptr}};
        detail::check(unwedge_plan_step(raw_.get(), &all));
        static_cast<void>(box.release());
    }
    template <class F>
    static int run(unwedge_stop_t *phase, void *box) noexcept {
        unwedge_stop_ref(phase);
        const stop_domain own((detail::stop_handle(phase)));
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
        try {
            (*static_cast<F *>(box))(own);
        } catch (const stopped &) {
            return ECANCELED;
        } catch (const std::system_error &error) {
            return error.code().value() != 0 ? error.code().value() : EIO;
        } catch (...) {
            return EIO;
        }
#else
        (*static_cast<F *>(box))(own);
#endif
        return 0;
    }
    detail::plan_handle raw_;
};

inline report stop_domain::shutdown(plan &&what) const {
    // One that was moved from would have no limit.
    if (what.get() == nullptr) detail::raise(-EINVAL);
    detail::report_handle made;
    detail::check(unwedge_stop_shutdown(raw_.get(), what.get(), nullptr, nullptr, made.place()));
    return unwedge::report(std::move(made));
}

template <class Lock>
report stop_domain::shutdown_holding(Lock &lock, plan &&what) const {
    if (what.get() == nullptr) detail::raise(-EINVAL);
    detail::lent_lock<Lock> lent(lock);
    detail::report_handle made;
    detail::check(unwedge_stop_shutdown(raw_.get(), what.get(), lent.ops(), &lent, made.place()));
    return unwedge::report(std::move(made));
}

/// Has `callback(const char *inversion)` told of each pair of orders of locks and waits that contradict each other, once each, before the lock is taken. It must not
/// throw. Whether anything is watched: in a debug build of the library, or one with the feature `lockdep`.
template <class F>
bool on_inversion(F callback) {
    std::unique_ptr<F> box(new F(std::move(callback)));
    const int code = unwedge_on_inversion([](void *arg, const char *inversion) { detail::boxed<F>::tell(arg, inversion); }, box.get(), &detail::boxed<F>::free);
    if (code == -ENOTSUP) return false;
    detail::check(code);
    static_cast<void>(box.release());
    return true;
}

// ---- Condition variables --------------------------------------------------------------------------------------------------------------------

/// std::condition_variable_any, over any BasicLockable, with waits that a stop ends. After a stop the lock is not held.
class condition_variable_any {
public:
    condition_variable_any() : waits_(nullptr) {
        detail::check(unwedge_condvar_new(raw_.place()));
        detail::check(unwedge_condvar_waits(raw_.get(), &waits_));
    }
    condition_variable_any(const condition_variable_any &) = delete;
    condition_variable_any &operator=(const condition_variable_any &) = delete;

    /// A notification wakes who has begun to wait before: change what is waited for under the lock, as with every condition variable. With nobody waiting it
    /// is one load.
    void notify_one() const noexcept {
        if (has_waiters()) unwedge_condvar_notify_one(raw_.get());
    }
    void notify_all() const noexcept {
        if (has_waiters()) unwedge_condvar_notify_all(raw_.get());
    }

    /// Waits for a notification. Throws `stopped`, and what the lock throws; then the lock is not held.
    template <class Lock>
    void wait(const stop_domain &stop, Lock &lock) const {
        detail::lent_lock<Lock> lent(lock);
        raise_unless(await(stop, lent, -1), lent);
    }
    /// Waits until `pred()`, which is called under the lock.
    template <class Lock, class Predicate>
    void wait(const stop_domain &stop, Lock &lock, Predicate pred) const {
        while (!pred()) wait(stop, lock);
    }
    /// Waits until a deadline, which gives the lock back.
    template <class Lock, class Clock, class Duration>
    std::cv_status wait_until(const stop_domain &stop, Lock &lock, const std::chrono::time_point<Clock, Duration> &deadline) const {
        detail::lent_lock<Lock> lent(lock);
        const int code = await(stop, lent, detail::until(deadline));
        // A clock that was set meanwhile decides itself.
        if (code == -ETIMEDOUT) return detail::until(deadline) != 0 ? std::cv_status::no_timeout : std::cv_status::timeout;
        raise_unless(code, lent);
        return std::cv_status::no_timeout;
    }
    template <class Lock, class Clock, class Duration, class Predicate>
    bool wait_until(const stop_domain &stop, Lock &lock, const std::chrono::time_point<Clock, Duration> &deadline, Predicate pred) const {
        while (!pred()) {
            if (wait_until(stop, lock, deadline) == std::cv_status::timeout) return pred();
        }
        return true;
    }
    template <class Lock, class Rep, class Period>
    std::cv_status wait_for(const stop_domain &stop, Lock &lock, const std::chrono::duration<Rep, Period> &time) const {
        detail::lent_lock<Lock> lent(lock);
        const int code = await(stop, lent, detail::nanoseconds(time));
        if (code == -ETIMEDOUT) return std::cv_status::timeout;
        raise_unless(code, lent);
        return std::cv_status::no_timeout;
    }
    template <class Lock, class Rep, class Period, class Predicate>
    bool wait_for(const stop_domain &stop, Lock &lock, const std::chrono::duration<Rep, Period> &time, Predicate pred) const {
        const std::int64_t limit = detail::nanoseconds(time);
        if (limit < 0) {
            wait(stop, lock, std::move(pred));
            return true;
        }
        return wait_until(stop, lock, std::chrono::steady_clock::now() + std::chrono::nanoseconds(limit), std::move(pred));
    }

    /// The forms that do not throw: a status, which says whether the lock is held. A lock that throws is -ENOLCK.
    template <class Lock>
    status wait(std::nothrow_t, const stop_domain &stop, Lock &lock) const noexcept {
        detail::lent_lock<Lock> lent(lock);
        return status(await(stop, lent, -1));
    }
    template <class Lock, class Predicate>
    status wait(std::nothrow_t, const stop_domain &stop, Lock &lock, Predicate pred) const {
        status last;
        while (last && !pred()) last = wait(std::nothrow, stop, lock);
        return last;
    }
    template <class Lock, class Rep, class Period>
    status wait_for(std::nothrow_t, const stop_domain &stop, Lock &lock, const std::chrono::duration<Rep, Period> &time) const noexcept {
        detail::lent_lock<Lock> lent(lock);
        return status(await(stop, lent, detail::nanoseconds(time)));
    }
    template <class Lock, class Clock, class Duration>
    status wait_until(std::nothrow_t, const stop_domain &stop, Lock &lock, const std::chrono::time_point<Clock, Duration> &deadline) const noexcept {
        detail::lent_lock<Lock> lent(lock);
        const status last(await(stop, lent, detail::until(deadline)));
        // As above.
        return last.is_timed_out() && detail::until(deadline) != 0 ? status() : last;
    }

    unwedge_condvar_t *get() const noexcept { return raw_.get(); }

private:
    template <class Lock>
    int await(const stop_domain &stop, detail::lent_lock<Lock> &lent, std::int64_t timeout) const noexcept {
        return unwedge_condvar_wait(raw_.get(), stop.get(), lent.ops(), &lent, timeout);
    }
    template <class Lock>
    static void raise_unless(int code, const detail::lent_lock<Lock> &lent) {
        if (code >= 0) return;
        lent.rethrow();
        detail::raise(code);
    }
    /// Relaxed: who waits has counted itself under its lock, under which the notifier has changed what is waited for.
    bool has_waiters() const noexcept { return __atomic_load_n(waits_, __ATOMIC_RELAXED) != 0; }
    detail::condvar_handle raw_;
    /// In the handle, and there for as long.
    const std::size_t *waits_;
};

// ---- Completions ----------------------------------------------------------------------------------------------------------------------------

/// What was read: the library's memory, for as long as this lives.
class bytes {
public:
    bytes() noexcept : data_(nullptr), size_(0) {}
    /// Moves only: what was moved from is empty.
    bytes(bytes &&other) noexcept : data_(nullptr), size_(0) { *this = std::move(other); }
    bytes &operator=(bytes &&other) noexcept {
        read_ = std::move(other.read_);
        data_ = other.data_;
        size_ = other.size_;
        if (this != &other) {
            other.data_ = nullptr;
            other.size_ = 0;
        }
        return *this;
    }
    const unsigned char *data() const noexcept { return static_cast<const unsigned char *>(data_); }
    std::size_t size() const noexcept { return size_; }
    std::string str() const { return std::string(static_cast<const char *>(data_), size_); }
    explicit bytes(detail::completion_handle read) noexcept : read_(std::move(read)), data_(nullptr), size_(0) {
        unwedge_completion_bytes(read_.get(), &data_, &size_);
    }

private:
    detail::completion_handle read_;
    const void *data_;
    std::size_t size_;
};

/// An open file.
class file {
public:
    file() noexcept {}
    explicit file(detail::file_handle raw) noexcept : raw_(std::move(raw)) {}
    file share() const noexcept { return file(raw_.share()); }
    unwedge_file_t *get() const noexcept { return raw_.get(); }
    explicit operator bool() const noexcept { return static_cast<bool>(raw_); }

private:
    detail::file_handle raw_;
};

/// What a stat found.
struct file_stat : unwedge_stat_t {
    file_stat() noexcept : unwedge_stat_t() {}
};

namespace detail {

/// How a value travels: as a pointer's bits if it is small and trivial, otherwise on the heap. In both cases it belongs to the completion.
template <class T>
struct travels_as_bits
    : std::integral_constant<bool, std::is_trivially_copyable<T>::value && sizeof(T) <= sizeof(void *)> {};

template <class T, bool Bits = travels_as_bits<T>::value>
struct carrier {
    typedef std::unique_ptr<T> kept;
    static void free(void *value) noexcept { delete static_cast<T *>(value); }
    static void *pack(T &&value) { return new T(std::move(value)); }
    static void drop(void *packed) noexcept { free(packed); }
    static kept take(completion_handle &from, std::int64_t &result) noexcept {
        void *value = nullptr;
        const int code = unwedge_completion_take(from.get(), &value);
        if (code < 0) result = code;
        return kept(static_cast<T *>(value));
    }
    static T &at(kept &value) noexcept { return *value; }
};

template <class T>
struct carrier<T, true> {
    struct kept {
        alignas(T) unsigned char bits[sizeof(T)];
    };
    static constexpr void (*free)(void *) = nullptr;
    static void *pack(T &&value) noexcept {
        void *bits = nullptr;
        std::memcpy(&bits, &value, sizeof(T));
        return bits;
    }
    static void drop(void *) noexcept {}
    static kept take(completion_handle &from, std::int64_t &result) noexcept {
        void *value = nullptr;
        // Bits that are all zero look like no value, which is what they are then.
        const int code = unwedge_completion_take(from.get(), &value);
        if (code < 0 && code != -ENODATA) result = code;
        kept out;
        std::memcpy(out.bits, &value, sizeof(T));
        return out;
    }
    static T &at(kept &value) noexcept { return *reinterpret_cast<T *>(value.bits); }
};

template <class T>
struct made_by_io {
    typedef T kept;
    static T &at(T &value) noexcept { return value; }
};
template <>
struct carrier<bytes, false> : made_by_io<bytes> {
    static bytes take(completion_handle &from, std::int64_t &) noexcept { return bytes(std::move(from)); }
};
template <bool Bits>
struct carrier<file, Bits> : made_by_io<file> {
    static file take(completion_handle &from, std::int64_t &result) noexcept {
        file_handle opened;
        const int code = unwedge_completion_file(from.get(), opened.place());
        if (code < 0) result = code;
        return file(std::move(opened));
    }
};
template <>
struct carrier<file_stat, false> : made_by_io<file_stat> {
    static file_stat take(completion_handle &from, std::int64_t &result) noexcept {
        file_stat found;
        const int code = unwedge_completion_stat(from.get(), &found);
        if (code < 0) result = code;
        return found;
    }
};

/// The result that says that there is no value, of an errno with either sign.
inline std::int64_t failure(int error) noexcept { return error > 0 ? -error : error < 0 ? error : -EIO; }

}  // namespace detail

/// What became of a wait for a completion, and of the completion: the value, if there is one.
template <class T>
class outcome {
    typedef detail::carrier<T> carrier;

public:
    outcome(int wait, std::int64_t result, detail::completion_handle &from) noexcept
        : wait_(wait), result_(result), kept_(has_value() ? carrier::take(from, result_) : typename carrier::kept()) {}
    /// What became of the wait.
    status wait() const noexcept { return status(wait_); }
    /// What the completer gave: the negative of an errno where it failed; -EALREADY where an earlier wait has taken the value.
    std::int64_t result() const noexcept { return result_; }
    bool has_value() const noexcept { return wait_ >= 0 && result_ >= 0; }
    explicit operator bool() const noexcept { return has_value(); }
    /// The value, if there is one.
    T &value() noexcept { return carrier::at(kept_); }
    /// The value; otherwise throws why there is none.
    T get() {
        if (wait_ < 0) detail::raise(wait_);
        if (result_ < 0) detail::raise_result(result_);
        return std::move(carrier::at(kept_));
    }

private:
    int wait_;
    std::int64_t result_;  // before the next one, whose making may change it
    typename carrier::kept kept_;
};

template <>
class outcome<void> {
public:
    outcome(int wait, std::int64_t result, detail::completion_handle &) noexcept : wait_(wait), result_(result) {}
    status wait() const noexcept { return status(wait_); }
    std::int64_t result() const noexcept { return result_; }
    explicit operator bool() const noexcept { return wait_ >= 0 && result_ >= 0; }
    void get() const {
        if (wait_ < 0) detail::raise(wait_);
        if (result_ < 0) detail::raise_result(result_);
    }

private:
    int wait_;
    std::int64_t result_;
};

namespace detail {
struct access;
}

/// A result that somebody owes. The value lies with the completion until it is taken: never on a waiter's stack.
///
/// Dropping it says that nobody wants the result: a late value is freed.
template <class T>
class completion {
public:
    completion() noexcept {}
    explicit completion(detail::completion_handle raw) noexcept : raw_(std::move(raw)) {}

    bool is_complete() const noexcept { return unwedge_completion_is_complete(raw_.get()) == 1; }

    /// Waits for the value, and takes it. Throws `stopped`, `abandoned` or what the completer failed with.
    T wait() { return await(nullptr, -1).get(); }
    /// As `wait`, ended by a stop of this domain: a phase's.
    T wait(const stop_domain &stop) { return await(stop.get(), -1).get(); }
    /// As `wait`, by who holds a lock: it is let go meanwhile. Held again afterwards, but after `stopped`, what the lock threw, or a wait that could not be (another
    /// one is at it). A std::unique_lock says which; with a bare lock use the std::nothrow form, whose status is that of the wait alone.
    template <class Lock>
    T wait(const stop_domain &stop, Lock &lock) {
        detail::lent_lock<Lock> lent(lock);
        outcome<T> came = await(stop, lent, -1);
        if (!came.wait()) lent.rethrow();
        return came.get();
    }

    /// The forms that do not throw. After a timeout it can be waited for again.
    outcome<T> wait(std::nothrow_t) noexcept { return await(nullptr, -1); }
    outcome<T> wait(std::nothrow_t, const stop_domain &stop) noexcept { return await(stop.get(), -1); }
    template <class Lock>
    outcome<T> wait(std::nothrow_t, const stop_domain &stop, Lock &lock) noexcept {
        detail::lent_lock<Lock> lent(lock);
        return await(stop, lent, -1);
    }
    template <class Rep, class Period>
    outcome<T> wait_for(const std::chrono::duration<Rep, Period> &time) noexcept {
        return await(nullptr, detail::nanoseconds(time));
    }
    template <class Lock, class Rep, class Period>
    outcome<T> wait_for(const stop_domain &stop, Lock &lock, const std::chrono::duration<Rep, Period> &time) noexcept {
        detail::lent_lock<Lock> lent(lock);
        return await(stop, lent, detail::nanoseconds(time));
    }
    template <class Clock, class Duration>
    outcome<T> wait_until(const std::chrono::time_point<Clock, Duration> &deadline) noexcept {
        return await(nullptr, detail::until(deadline));
    }

    /// Has `callback(outcome<T>)` called on the callback thread of `stop`, and gives the completion away. It must not throw.
    template <class F>
    void on_complete(const stop_domain &stop, F callback) {
        std::unique_ptr<F> box(new F(std::move(callback)));
        detail::check(unwedge_completion_on_complete(raw_.get(), stop.get(), &called<F>, box.get()));
        static_cast<void>(box.release());
        raw_ = detail::completion_handle();
    }

    unwedge_completion_t *get() const noexcept { return raw_.get(); }

private:
    friend struct detail::access;
    outcome<T> await(unwedge_stop_t *stop, std::int64_t timeout) noexcept {
        std::int64_t result = 0;
        const int code = unwedge_completion_wait(raw_.get(), stop, timeout, &result);
        return outcome<T>(code, result, raw_);
    }
    template <class Lock>
    outcome<T> await(const stop_domain &stop, detail::lent_lock<Lock> &lent, std::int64_t timeout) noexcept {
        std::int64_t result = 0;
        const int code = unwedge_completion_wait_unlocked(raw_.get(), stop.get(), lent.ops(), &lent, timeout, &result);
        return outcome<T>(code, result, raw_);
    }
    template <class F>
    static void called(void *box, int code, std::int64_t result, unwedge_completion_t *lent) noexcept {
        std::unique_ptr<F> callback(static_cast<F *>(box));
        unwedge_completion_ref(lent);
        detail::completion_handle own(lent);
        (*callback)(outcome<T>(code, result, own));
    }
    detail::completion_handle raw_;
};

/// Who owes a completion its value. From any thread, under any lock; never blocks. Dropped without a value, the completion throws `abandoned`.
template <class T>
class completer {
public:
    completer() noexcept {}
    explicit completer(detail::completer_handle raw) noexcept : raw_(std::move(raw)) {}

    /// Gives the value. False if nobody wants it any more, or it was completed before: then it is freed.
    bool complete(T value) const {
        void *const packed = detail::carrier<T>::pack(std::move(value));
        const int code = unwedge_completer_complete(raw_.get(), 0, packed);
        if (code < 0) detail::carrier<T>::drop(packed);
        return code == 1;
    }
    /// Says that there will be no value, by an errno (0 is EIO).
    bool fail(int error) const noexcept {
        return unwedge_completer_complete(raw_.get(), detail::failure(error), nullptr) == 1;
    }
    bool is_wanted() const noexcept { return unwedge_completer_is_wanted(raw_.get()) == 1; }
    /// For external operations: `hook()` runs on the domain's callback thread when nobody waits any more. It must not throw.
    template <class F>
    void on_cancel(F hook) const {
        std::unique_ptr<F> box(new F(std::move(hook)));
        const int code = unwedge_completer_on_cancel(raw_.get(), &detail::boxed<F>::call_lent, box.get(), &detail::boxed<F>::free);
        if (code != -EINVAL && code != -EALREADY) static_cast<void>(box.release());
        detail::check(code);
    }
    completer share() const noexcept { return completer(raw_.share()); }
    explicit operator bool() const noexcept { return static_cast<bool>(raw_); }

private:
    detail::completer_handle raw_;
};

template <>
class completer<void> {
public:
    completer() noexcept {}
    explicit completer(detail::completer_handle raw) noexcept : raw_(std::move(raw)) {}
    bool complete() const noexcept { return unwedge_completer_complete(raw_.get(), 0, nullptr) == 1; }
    bool fail(int error) const noexcept {
        return unwedge_completer_complete(raw_.get(), detail::failure(error), nullptr) == 1;
    }
    bool is_wanted() const noexcept { return unwedge_completer_is_wanted(raw_.get()) == 1; }
    completer share() const noexcept { return completer(raw_.share()); }
    explicit operator bool() const noexcept { return static_cast<bool>(raw_); }

private:
    detail::completer_handle raw_;
};

/// The two ends of a result.
template <class T>
struct owed {
    completion<T> result;
    completer<T> owes;
};

namespace detail {
template <class T>
struct free_of {
    static constexpr void (*value())(void *) { return carrier<T>::free; }
};
template <>
struct free_of<void> {
    static constexpr void (*value())(void *) { return nullptr; }
};
}  // namespace detail

/// A result owed in a domain, under a name for reports: few different ones.
template <class T>
owed<T> owe(const stop_domain &stop, const char *what) {
    detail::completion_handle result;
    detail::completer_handle owes;
    detail::check(unwedge_completion_new(stop.get(), what, detail::free_of<T>::value(), result.place(), owes.place()));
    owed<T> both = {completion<T>(std::move(result)), completer<T>(std::move(owes))};
    return both;
}

// ---- Monitors -------------------------------------------------------------------------------------------------------------------------------

namespace detail {
struct access {
    template <class T>
    static completion_handle &raw(completion<T> &of) noexcept {
        return of.raw_;
    }
};
}  // namespace detail

/// A value and the lock that protects it, any Lockable that is not recursive. Taking the lock is itself a wait that a stop ends; who waits queues, whatever the
/// lock is, and reports say who holds it.
template <class T, class Lock>
class monitor {
    struct content {
        explicit content(T &&with) : value(std::move(with)) {}
        Lock lock;
        T value;
    };

public:
    /// The lock, held. Moves only. After a wait that a stop has ended it is empty.
    class guard {
    public:
        guard() noexcept : raw_(nullptr) {}
        explicit guard(unwedge_monitor_t *held) noexcept : raw_(held) {}
        guard(guard &&other) noexcept : raw_(other.raw_) { other.raw_ = nullptr; }
        /// What this held is let go.
        guard &operator=(guard &&other) noexcept {
            guard before(std::move(other));
            std::swap(raw_, before.raw_);
            return *this;
        }
        guard(const guard &) = delete;
        guard &operator=(const guard &) = delete;
        ~guard() { unlock(); }

        bool owns_lock() const noexcept { return raw_ != nullptr; }
        explicit operator bool() const noexcept { return raw_ != nullptr; }
        T &operator*() const noexcept { return static_cast<content *>(unwedge_monitor_place(raw_))->value; }
        T *operator->() const noexcept { return &**this; }
        void unlock() noexcept {
            if (raw_ != nullptr) unwedge_monitor_unlock(raw_);
            raw_ = nullptr;
        }

        /// Waits for a notification. Throws `stopped`, and is empty then.
        void wait(const condition_variable_any &cond) { detail::check(await(cond, -1).code()); }
        template <class Predicate>
        void wait(const condition_variable_any &cond, Predicate pred) {
            while (!pred()) wait(cond);
        }
        /// The form that does not throw.
        status wait(std::nothrow_t, const condition_variable_any &cond) noexcept { return await(cond, -1); }
        template <class Rep, class Period>
        status wait_for(const condition_variable_any &cond, const std::chrono::duration<Rep, Period> &time) noexcept {
            return await(cond, detail::nanoseconds(time));
        }
        /// Waits for a completion, with the lock let go, and takes its value.
        template <class V>
        V wait(completion<V> &of) {
            return wait(std::nothrow, of).get();
        }
        template <class V>
        outcome<V> wait(std::nothrow_t, completion<V> &of) noexcept {
            std::int64_t result = 0;
            const int code = emptied(unwedge_monitor_wait_for(raw_, of.get(), &result));
            return outcome<V>(code, result, detail::access::raw(of));
        }

    private:
        status await(const condition_variable_any &cond, std::int64_t timeout) noexcept {
            return status(emptied(unwedge_monitor_wait(raw_, cond.get(), timeout)));
        }
        int emptied(int code) noexcept {
            if (code == -ECANCELED) raw_ = nullptr;
            return code;
        }
        unwedge_monitor_t *raw_;
    };

    /// A monitor of which reports speak by this name.
    monitor(const stop_domain &stop, const char *name, T value = T()) {
        const unwedge_monitor_ops_t ops = {sizeof(content), alignof(content), &make, &end, &try_lock, &unlock, {nullptr, nullptr, nullptr, nullptr}};
        detail::check(unwedge_monitor_new(stop.get(), name, &ops, &value, raw_.place()));
    }
    monitor(const monitor &) = delete;
    monitor &operator=(const monitor &) = delete;

    /// Takes the lock. Throws `stopped`.
    guard lock() const {
        detail::check(unwedge_monitor_lock(raw_.get(), -1));
        return guard(raw_.get());
    }
    /// Takes it in another domain: a phase of a shutdown.
    guard lock(const stop_domain &stop) const {
        detail::check(unwedge_monitor_lock_in(raw_.get(), stop.get()));
        return guard(raw_.get());
    }
    /// Takes it, and does not throw: the guard is empty after a stop.
    guard lock(std::nothrow_t) const noexcept { return guard(unwedge_monitor_lock(raw_.get(), -1) == 0 ? raw_.get() : nullptr); }
    /// The same in another domain.
    guard lock(std::nothrow_t, const stop_domain &stop) const noexcept {
        return guard(unwedge_monitor_lock_in(raw_.get(), stop.get()) == 0 ? raw_.get() : nullptr);
    }
    /// The same until the time is up.
    template <class Rep, class Period>
    guard lock_for(const std::chrono::duration<Rep, Period> &time) const noexcept {
        return guard(unwedge_monitor_lock(raw_.get(), detail::nanoseconds(time)) == 0 ? raw_.get() : nullptr);
    }

private:
    friend class step;
    friend class plan;
    detail::monitor_handle share() const noexcept { return raw_.share(); }
    static int make(void *place, void *value) noexcept {
#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
        try {
            new (place) content(std::move(*static_cast<T *>(value)));
        } catch (...) {
            return ENOMEM;
        }
#else
        new (place) content(std::move(*static_cast<T *>(value)));
#endif
        return 0;
    }
    static void end(void *place) noexcept { static_cast<content *>(place)->~content(); }
    static int try_lock(void *place) noexcept { return static_cast<content *>(place)->lock.try_lock() ? 0 : EBUSY; }
    static void unlock(void *place) noexcept { static_cast<content *>(place)->lock.unlock(); }
    detail::monitor_handle raw_;
};

/// As stop_domain::shutdown_holding, by who holds a monitor: the guard is empty afterwards.
template <class Guard>
report shutdown_holding(const stop_domain &stop, Guard &&held, plan &&what) {
    struct letting_go {
        typename std::remove_reference<Guard>::type *guard;
        void lock() {}
        void unlock() { guard->unlock(); }
    } lock = {&held};
    return stop.shutdown_holding(lock, std::move(what));
}

// ---- I/O ------------------------------------------------------------------------------------------------------------------------------------

/// Metadata I/O of one domain. What is written is copied, what is read lies with the completion: no memory of the caller's is in the kernel's hands.
class io {
public:
    explicit io(const stop_domain &stop, int backend = UNWEDGE_AUTO) { detail::check(unwedge_io_new(stop.get(), backend, raw_.place())); }
    explicit io(detail::io_handle raw) noexcept : raw_(std::move(raw)) {}
    io share() const noexcept { return io(raw_.share()); }
    /// The same backend for another domain: a phase's.
    io with(const stop_domain &stop) const {
        detail::io_handle other;
        detail::check(unwedge_io_with(raw_.get(), stop.get(), other.place()));
        return io(std::move(other));
    }
    /// `flags` and `mode` are those of open(2).
    completion<file> open(const char *path, int flags, std::uint32_t mode = 0666) const {
        detail::completion_handle made;
        detail::check(unwedge_io_open(raw_.get(), path, flags, mode, made.place()));
        return completion<file>(std::move(made));
    }
    completion<bytes> read(const file &from, std::size_t len, std::uint64_t offset) const {
        detail::completion_handle made;
        detail::check(unwedge_io_read(raw_.get(), from.get(), len, offset, made.place()));
        return completion<bytes>(std::move(made));
    }
    completion<void> write(const file &to, const void *data, std::size_t len, std::uint64_t offset) const {
        detail::completion_handle made;
        detail::check(unwedge_io_write(raw_.get(), to.get(), data, len, offset, made.place()));
        return completion<void>(std::move(made));
    }
    completion<void> sync(const file &of, bool data_only = false) const {
        detail::completion_handle made;
        detail::check(unwedge_io_sync(raw_.get(), of.get(), data_only ? 1 : 0, made.place()));
        return completion<void>(std::move(made));
    }
    completion<file_stat> stat(const char *path) const {
        detail::completion_handle made;
        detail::check(unwedge_io_stat(raw_.get(), path, made.place()));
        return completion<file_stat>(std::move(made));
    }
    /// An operation that foreign code completes.
    template <class T>
    owed<T> external(const char *what) const {
        detail::completion_handle result;
        detail::completer_handle owes;
        detail::check(unwedge_io_external(raw_.get(), what, detail::free_of<T>::value(), result.place(), owes.place()));
        owed<T> both = {completion<T>(std::move(result)), completer<T>(std::move(owes))};
        return both;
    }
    /// What was done so far, as JSON.
    std::string metrics() const {
        const unwedge_io_t *const raw = raw_.get();
        return detail::text([raw](char *place, std::size_t size) { return unwedge_io_metrics(raw, place, size); });
    }
    unwedge_io_t *get() const noexcept { return raw_.get(); }

private:
    detail::io_handle raw_;
};

}  // namespace unwedge

#endif
