// What ours does and std::condition_variable_any does not: a stop ends the wait, without the lock, over every lock; and completions and I/O.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "locks.hpp"

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

/// Whether a lock says of itself that it is held; one that cannot say so is tried.
template <class L>
auto says_held(L &lock, int) -> decltype(lock.owns_lock()) {
    return lock.owns_lock();
}
template <class M>
bool says_held(bare<M> &, long) {
    return false;
}

template <class Kind>
struct stop_over {
    typedef typename Kind::mutex mutex;
    typedef typename Kind::lock lock;

    /// A stopper that holds the lock and joins: the deadlock on stop. The wait comes back without the lock.
    static void holder_joins() {
        unwedge::stop_domain stop("holder");
        unwedge::condition_variable_any cond;
        mutex m;
        bool held = true;
        stop.spawn("waiter", [&] {
            lock guard(m);
            try {
                for (;;) cond.wait(stop, target(guard));
            } catch (const unwedge::stopped &) {
                held = says_held(guard, 0);
            }
        });
        until_report_has(stop, "condition variable");
        m.lock();
        const unwedge::report report = stop.shutdown(unwedge::plan(seconds(30)));
        m.unlock();
        CHECK(report.is_clean());
        CHECK(!held);
    }

    /// The same by the stop's own hand: the lock goes in and is let go.
    static void holding() {
        unwedge::stop_domain stop("holding");
        unwedge::condition_variable_any cond;
        mutex m;
        stop.spawn("waiter", [&] {
            lock guard(m);
            const unwedge::status status = cond.wait(std::nothrow, stop, target(guard));
            CHECK(status.is_stopped() && !status && !says_held(guard, 0));
        });
        until_report_has(stop, "condition variable");
        lock guard(m);
        CHECK(stop.shutdown_holding(target(guard), unwedge::plan(seconds(30))).is_clean());
        CHECK(!says_held(guard, 0));
        m.lock();  // it is free
        m.unlock();
    }

    /// A wait that begins after the stop.
    static void too_late() {
        unwedge::stop_domain stop("late");
        unwedge::condition_variable_any cond;
        mutex m;
        stop.request("late");
        lock guard(m);
        CHECK(cond.wait_for(std::nothrow, stop, target(guard), seconds(30)).is_stopped());
        CHECK(!says_held(guard, 0));
        m.lock();
        m.unlock();
        CHECK(stop.reason() == "late");
    }

    /// Notified, and the lock is another's: a stop reaches a Lockable there too; a BasicLockable waits for the lock, and lets it go.
    static void while_it_is_taken_again() {
        unwedge::stop_domain stop("relock");
        unwedge::condition_variable_any cond;
        mutex m;
        std::atomic<bool> back(false);
        stop.spawn("waiter", [&] {
            lock guard(m);
            CHECK(cond.wait(std::nothrow, stop, target(guard)).is_stopped());
            CHECK(!says_held(guard, 0));
            back = true;
        });
        until_report_has(stop, "condition variable");
        m.lock();
        cond.notify_one();
        until_report_has(stop, "(notified)");
        stop.request("now");
        if (unwedge::lock_traits<typename std::remove_reference<decltype(target(std::declval<lock &>()))>::type>::can_try) {
            while (!back) std::this_thread::yield();
        }
        m.unlock();
        CHECK(stop.shutdown(unwedge::plan(seconds(30))).is_clean());
        m.lock();
        m.unlock();
    }

    /// A completion, with the lock let go: the value, a timeout, a stop.
    static void completions() {
        unwedge::stop_domain stop("completions");
        mutex m;
        auto text = unwedge::owe<std::string>(stop, "read");
        auto never = unwedge::owe<std::string>(stop, "never");
        {
            lock guard(m);
            const auto none = never.result.wait_for(stop, target(guard), milliseconds(1));
            CHECK(none.wait().is_timed_out() && !none);
            guard.unlock();  // it was held
        }
        stop.spawn("completer", [&] {
            until_report_has(stop, "read");
            m.lock();  // the waiter has let it go
            m.unlock();
            CHECK(text.owes.complete("hello"));
        });
        {
            lock guard(m);
            CHECK(text.result.wait(stop, target(guard)) == "hello");
            guard.unlock();
        }
        stop.spawn("waiter", [&] {
            lock guard(m);
            auto came = never.result.wait(std::nothrow, stop, target(guard));
            CHECK(came.wait().is_stopped() && !says_held(guard, 0));
        });
        until_report_has(stop, "never");
        m.lock();
        CHECK(stop.shutdown(unwedge::plan(seconds(30))).is_clean());
        m.unlock();
    }

    static void run(const char *) {
        holder_joins();
        holding();
        too_late();
        while_it_is_taken_again();
        completions();
    }
};

/// A lock that throws: what it threw comes out of the wait, which is not held.
struct throwing {
    std::mutex inner;
    std::atomic<bool> fails{false};
    void lock() {
        if (fails) throw std::runtime_error("no lock to be had");
        inner.lock();
    }
    void unlock() { inner.unlock(); }
};

void a_lock_that_throws() {
    unwedge::stop_domain stop("throwing");
    unwedge::condition_variable_any cond;
    throwing m;
    auto read = unwedge::owe<int>(stop, "read");
    for (int form = 0; form < 3; ++form) {
        std::atomic<bool> held(false);
        m.fails = false;
        std::thread notifier([&, form] {
            while (!held) std::this_thread::yield();
            // Free as soon as the wait has let it go.
            while (!m.inner.try_lock()) std::this_thread::yield();
            m.fails = true;
            m.inner.unlock();
            if (form < 2) {
                while (unwedge_condvar_notify_one(cond.get()) == 0) std::this_thread::yield();
            } else {
                read.owes.complete(1);
            }
        });
        std::unique_lock<throwing> guard(m);
        held = true;
        bool threw = false;
        if (form == 1) {
            CHECK(cond.wait(std::nothrow, stop, guard).code() == -ENOLCK);
        } else {
            try {
                if (form == 0) cond.wait(stop, guard);
                else read.result.wait(stop, guard);
            } catch (const std::runtime_error &error) {
                threw = std::string(error.what()) == "no lock to be had";
            }
            CHECK(threw);
        }
        CHECK(!guard.owns_lock());
        notifier.join();
    }
    CHECK(stop.shutdown(unwedge::plan(seconds(30))).is_clean());
}

/// Counts those that live.
struct counted {
    static std::atomic<int> alive;
    std::string text;
    explicit counted(const char *with) : text(with) { ++alive; }
    counted(counted &&other) : text(std::move(other.text)) { ++alive; }
    ~counted() { --alive; }
};
std::atomic<int> counted::alive(0);

/// In the shape of C_SaferCond, whose context and buffer are on the waiter's stack: the wait is stopped, the frame is gone, and then the reply comes.
template <class T>
void late_reply(T (*make)(), unwedge::completer<T> &kept) {
    unwedge::stop_domain stop("late");
    stop.spawn("loader", [&] {
        auto read = unwedge::owe<T>(stop, "read");
        kept = std::move(read.owes);
        const auto came = read.result.wait(std::nothrow);
        CHECK(came.wait().is_stopped());
    });
    until_report_has(stop, "read");
    CHECK(stop.shutdown(unwedge::plan(seconds(30))).is_clean());
    CHECK(!kept.is_wanted());
    CHECK(!kept.complete(make()));  // nobody wants it: it is freed once
    CHECK(!kept.complete(make()));  // and the second time too
}

/// A call of a client library with an out-parameter: `*into` is written and then `finish` called, whenever the storage answers.
struct pending_read {
    std::string *into;
    std::function<void(int)> finish;
};

/// The context of such a call, as in PORTING.md: it is on the heap, and what is written lies in it. The reply frees it.
struct load_context {
    unwedge::completer<std::string> owes;
    std::string into;
    void finish(int result) {
        if (result < 0) {
            owes.fail(-result);
        } else {
            owes.complete(std::move(into));
        }
        delete this;
    }
};

/// The waiter is stopped and its frame is gone, and then the library writes to the out-parameter.
void late_out_parameter() {
    for (const int result : {0, -EIO}) {
        unwedge::stop_domain stop("late");
        pending_read storage = {};
        stop.spawn("loader", [&] {
            auto read = unwedge::owe<std::string>(stop, "read into");
            auto *context = new load_context{std::move(read.owes), {}};
            storage = {&context->into, [context](int came) { context->finish(came); }};
            CHECK(read.result.wait(std::nothrow).wait().is_stopped());
        });
        until_report_has(stop, "read into");
        CHECK(stop.shutdown(unwedge::plan(seconds(30))).is_clean());
        *storage.into = "a whole object, longer than a small string";
        storage.finish(result);
    }
}

void late_replies() {
    late_out_parameter();
    unwedge::completer<counted> kept;
    late_reply<counted>([] { return counted("a whole object, longer than a small string"); }, kept);
    CHECK(counted::alive == 0);
    unwedge::completer<std::vector<int>> vector;
    late_reply<std::vector<int>>([] { return std::vector<int>(1000, 7); }, vector);
    unwedge::completer<int> number;
    late_reply<int>([] { return 7; }, number);
}

void values() {
    unwedge::stop_domain stop("values");
    auto number = unwedge::owe<int>(stop, "number");
    CHECK(!number.result.is_complete() && number.owes.is_wanted());
    CHECK(number.owes.complete(0) && number.result.is_complete());
    CHECK(number.result.wait() == 0);
    auto pointer = unwedge::owe<std::unique_ptr<int>>(stop, "pointer");
    CHECK(pointer.owes.complete(std::unique_ptr<int>(new int(5))));
    CHECK(*pointer.result.wait() == 5);
    // A value is given out once, and afterwards there is none.
    CHECK(!pointer.result.wait(std::nothrow) && pointer.result.wait(std::nothrow).result() == -EALREADY);
    auto once = unwedge::owe<int>(stop, "once");
    CHECK(once.owes.complete(42) && once.result.wait() == 42);
    CHECK(!once.result.wait(std::nothrow) && once.result.wait(std::nothrow).result() == -EALREADY);
    auto no_reason = unwedge::owe<std::unique_ptr<int>>(stop, "no reason");
    CHECK(no_reason.owes.fail(0) && no_reason.result.wait(std::nothrow).result() == -EIO);
    auto nothing = unwedge::owe<void>(stop, "nothing");
    CHECK(nothing.owes.complete() && !nothing.owes.complete());
    nothing.result.wait();
    {
        auto untaken = unwedge::owe<counted>(stop, "untaken");
        CHECK(untaken.owes.complete(counted("untaken")));
        CHECK(counted::alive == 1);
    }
    CHECK(counted::alive == 0);

    auto failed = unwedge::owe<int>(stop, "failed");
    failed.owes.fail(EIO);
    try {
        failed.result.wait();
        CHECK(!"it has failed");
    } catch (const unwedge::failure &error) {
        CHECK(error.code() == std::errc::io_error);
    }
    // An operation that was cancelled is a failure: only a wait that was ended is `stopped`, and only it has let the lock go.
    auto cancelled = unwedge::owe<int>(stop, "cancelled");
    cancelled.owes.fail(ECANCELED);
    std::mutex m;
    std::unique_lock<std::mutex> guard(m);
    try {
        cancelled.result.wait(stop, guard);
        CHECK(!"it was cancelled");
    } catch (const unwedge::failure &error) {
        CHECK(error.code() == std::errc::operation_canceled && guard.owns_lock());
    }
    guard.unlock();
    auto dropped = unwedge::owe<int>(stop, "dropped");
    dropped.owes = unwedge::completer<int>();
    { unwedge::completer<int> gone(std::move(dropped.owes)); }
    try {
        dropped.result.wait();
        CHECK(!"it was abandoned");
    } catch (const unwedge::abandoned &) {
    }

    std::atomic<int> called(0);
    auto text = unwedge::owe<std::string>(stop, "text");
    text.result.on_complete(stop, [&](unwedge::outcome<std::string> came) {
        CHECK(came && came.value() == "hello");
        called = 1;
    });
    CHECK(text.owes.complete("hello"));
    while (called != 1) std::this_thread::yield();
    auto late = unwedge::owe<std::string>(stop, "text");
    late.result.on_complete(stop, [&](unwedge::outcome<std::string> came) {
        CHECK(came.wait().is_stopped());
        called = 2;
    });
    // A phase waits for what belongs to the stopped domain.
    auto table = unwedge::owe<int>(stop, "table");
    table.owes.complete(3);
    bool saved = false;
    const unwedge::report report = stop.shutdown(unwedge::plan(seconds(30))
                                                     .phase("save", seconds(10),
                                                            [&](const unwedge::stop_domain &phase) {
                                                                CHECK(table.result.wait(std::nothrow).wait().is_stopped());
                                                                CHECK(table.result.wait(phase) == 3);
                                                                saved = true;
                                                            })
                                                     .phase("fails", seconds(10), [](const unwedge::stop_domain &) { throw unwedge::failure(ENOSPC); }));
    CHECK(report.is_clean() && saved && called == 2);
    CHECK(report.text().find("phase fails: failed: No space left on device") != std::string::npos);
}

void files() {
    unwedge::stop_domain stop("files");
    for (int backend : {UNWEDGE_AUTO, UNWEDGE_POOL}) {
        unwedge::io io(stop, backend);
        const std::string path = "/tmp/unwedge-stops-" + std::to_string(getpid());
        unwedge::file file = io.open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600).wait();
        unlink(path.c_str());
        io.write(file, "ceph fs volume", 14, 0).wait();
        io.sync(file).wait();
        const unwedge::bytes found = io.read(file, 4096, 5).wait();
        CHECK(found.str() == "fs volume");
        CHECK(io.stat("/proc/self").wait().mode != 0);
        CHECK(io.read(file, 16, 1000).wait().size() == 0);
        try {
            io.open("/nonexistent/1", O_RDONLY).wait();
            CHECK(!"there is none");
        } catch (const unwedge::failure &error) {
            CHECK(error.code() == std::errc::no_such_file_or_directory);
        }
        // A read that is never answered: its wait is stopped, its memory is the library's.
        int ends[2];
        CHECK(pipe(ends) == 0);
        const std::string end = "/proc/self/fd/" + std::to_string(ends[0]);
        unwedge::stop_domain part = stop.child("part");
        unwedge::io own = io.with(part);
        unwedge::file silent = io.open(end.c_str(), O_RDONLY).wait();
        auto read = own.read(silent, 4096, 0);
        CHECK(read.wait_for(milliseconds(1)).wait().is_timed_out());
        std::thread stopper([&] { part.request("enough"); });
        CHECK(read.wait(std::nothrow).wait().is_stopped());
        stopper.join();
        read = unwedge::completion<unwedge::bytes>();
        CHECK(write(ends[1], "late", 4) == 4);
        close(ends[0]);
        close(ends[1]);
        auto foreign = io.external<std::string>("osd_op");
        std::atomic<bool> cancelled(false);
        foreign.owes.on_cancel([&] { cancelled = true; });
        foreign.result = unwedge::completion<std::string>();
        { const unwedge::completion<std::string> dropped(std::move(foreign.result)); }
        while (!cancelled) std::this_thread::yield();
        CHECK(!foreign.owes.complete("late"));
        CHECK(io.metrics().find("\"backend\":") != std::string::npos);
    }
    CHECK(stop.shutdown(unwedge::plan(seconds(30))).is_clean());
}

void start_hook() {
    std::atomic<int> started(0);
    unwedge::stop_domain stop("hook", [&](const char *name) { started += name[0] != 0; });
    stop.spawn("first", [&] { CHECK(started >= 1); });
    CHECK(stop.shutdown(unwedge::plan(seconds(30))).is_clean());
    CHECK(started == 1);
}

/// A monitor, over any lock: taken, waited with, and let go by a stop whose stopper holds it.
template <class Lock>
void monitors() {
    unwedge::stop_domain stop("monitors");
    unwedge::monitor<std::string, Lock> state(stop, "mds_lock", "start");
    unwedge::condition_variable_any changed;
    CHECK(*state.lock() == "start");
    {
        auto guard = state.lock();
        CHECK(unwedge_monitor_place(nullptr) == nullptr);
        CHECK(guard.wait_for(changed, milliseconds(1)).is_timed_out() && guard.owns_lock());
        guard->append("ed");
        bool twice = false;
        try {
            state.lock();
        } catch (const unwedge::failure &error) {
            twice = error.code() == std::errc::resource_deadlock_would_occur;
        }
        CHECK(twice);
    }
    auto read = unwedge::owe<std::string>(stop, "read");
    stop.spawn("changer", [&] {
        until_report_has(stop, "condition variable of mds_lock");
        *state.lock() = "changed";
        changed.notify_all();
        until_report_has(stop, "read");
        read.owes.complete("header");
    });
    {
        std::thread unseen([&] {
            auto guard = state.lock();
            guard.wait(changed, [&] { return *guard == "changed"; });
        });
        // A thread that is no member is in no report of the domain: so a member waits too.
        stop.spawn("waiter", [&] {
            auto guard = state.lock();
            guard.wait(changed, [&] { return *guard == "changed"; });
            changed.notify_all();
            CHECK(guard.wait(read.result) == "header" && guard.owns_lock());
            auto never = unwedge::owe<int>(stop, "never");
            const auto came = guard.wait(std::nothrow, never.result);
            CHECK(came.wait().is_stopped() && !guard.owns_lock());
        });
        unseen.join();
        until_report_has(stop, "never");
    }
    std::atomic<int> stopped(0);
    auto held = state.lock();
    for (int i = 0; i < 3; ++i) {
        stop.spawn("taker", [&] {
            if (!state.lock(std::nothrow)) ++stopped;
        });
    }
    until_report_has(stop, "lock mds_lock", 3);
    CHECK(!state.lock_for(milliseconds(0)));
    std::string saved;
    CHECK(unwedge::shutdown_holding(stop, std::move(held), unwedge::plan(seconds(30)).phase("save", seconds(10), [&](const unwedge::stop_domain &phase) {
              saved = *state.lock(phase);
          })).is_clean());
    CHECK(stopped == 3 && saved == "changed" && !held.owns_lock());
}

std::atomic<int> kinds(0);

template <class Kind>
struct counted_run {
    static void run(const char *name) {
        stop_over<Kind>::run(name);
        ++kinds;
    }
};

/// A static that waits in its destructor, after main: for a value that comes, and for one instead of which a stop comes.
struct waits_at_exit {
    std::unique_ptr<unwedge::stop_domain> stop;
    ~waits_at_exit() {
        if (!stop) return;
        auto given = unwedge::owe<int>(*stop, "given");
        std::thread giver([&] { given.owes.complete(7); });
        CHECK(given.result.wait() == 7);
        giver.join();
        auto never = unwedge::owe<int>(*stop, "never");
        std::thread stopper([&] { stop->request("exit"); });
        CHECK(never.result.wait(std::nothrow).wait().is_stopped());
        stopper.join();
        std::printf("stops: and after main\n");
    }
} at_exit;

}  // namespace

int main() {
    at_exit.stop.reset(new unwedge::stop_domain("at exit"));
    for_each_kind<counted_run>();
    monitors<std::mutex>();
    monitors<std::timed_mutex>();
    monitors<pthread_spin>();
    monitors<fair_mutex>();
    a_lock_that_throws();
    late_replies();
    values();
    files();
    start_hook();
    std::printf("stops: over %d kinds of lock, completions, late replies, files\n", kinds.load());
}
