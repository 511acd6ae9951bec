// Answers each question, `WORK COUNT`, with nanoseconds: Boost.Interprocess as a program in C++ uses it.
#include <boost/interprocess/anonymous_shared_memory.hpp>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <boost/interprocess/sync/interprocess_condition.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/interprocess_semaphore.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/interprocess/sync/named_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <ctime>
#include <iostream>
#include <memory>
#include <new>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <vector>
#include <sys/prctl.h>
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace ipc = boost::interprocess;

static uint64_t now() {
    timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return uint64_t(time.tv_sec) * 1000000000u + time.tv_nsec;
}

struct Shared {
    alignas(128) ipc::interprocess_mutex mutex;
    alignas(128) ipc::interprocess_sharable_mutex sharable;
    alignas(128) ipc::interprocess_semaphore semaphore{1};
    alignas(128) ipc::interprocess_semaphore wake{0};
    alignas(128) ipc::interprocess_semaphore answer{0};
    alignas(128) ipc::interprocess_mutex guard;
    ipc::interprocess_condition condition;
    int turn = 0;
    alignas(128) volatile uint64_t section[4] = {};
    alignas(128) std::atomic<int> state{0};
    std::atomic<uint64_t> partners{0};
    std::atomic<uint64_t> sent{0};
};

static int other_core;

// A forked process on the other core, killed at the end.
struct Partner {
    pid_t pid;
    template <class Body> explicit Partner(Body body) {
        pid = fork();
        if (pid < 0) throw std::runtime_error("fork");
        if (pid == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            cpu_set_t set;
            CPU_ZERO(&set);
            CPU_SET(other_core, &set);
            sched_setaffinity(0, sizeof set, &set);
            body();
            _exit(0);
        }
    }
    ~Partner() {
        kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
    }
};

static void pause_until(std::atomic<int> &state, int value) {
    while (state.load() != value) __builtin_ia32_pause();
}

// Both visit for `milliseconds`; `own` is this side's way. Nanoseconds for each visit of either.
template <class Visit, class Own>
static double contend(Shared &shared, uint64_t milliseconds, Visit visit, Own own) {
    shared.state = 0;
    shared.partners = 0;
    Partner partner([&] {
        shared.state = 1;
        uint64_t visits = 0;
        while (shared.state == 1) {
            visit();
            visits++;
        }
        shared.partners = visits;
        shared.state = 3;
        pause();
    });
    pause_until(shared.state, 1);
    uint64_t begun = now(), visits = 0;
    while (now() - begun < milliseconds * 1000000) {
        for (int i = 0; i < 16; i++) own();
        visits += 16;
    }
    double took = now() - begun;
    shared.state = 2;
    pause_until(shared.state, 3);
    return took / (visits + shared.partners);
}

// From just before a wake-up to running again, of a process that sleeps.
template <class Wait, class Wake> static double woken(Shared &shared, Wait wait, Wake wake) {
    shared.state = 0;
    Partner partner([&] {
        uint64_t begun = now();
        while (now() - begun < 300000) {
        }
        wake();
        shared.state = 1;
        pause();
    });
    wait();
    double took = now() - shared.sent;
    // Killed within, it would leave a lock locked.
    pause_until(shared.state, 1);
    return took;
}

template <class Operation> static double each(long count, Operation operation) {
    uint64_t begun = now();
    for (long i = 0; i < count; i++) operation();
    return double(now() - begun) / count;
}

int main(int, char **arguments) {
    other_core = std::stoi(arguments[1]);
    std::string name = std::string(arguments[2]) + "-boost", kept = name + "-kept", named = name + "-mutex";
    ipc::mapped_region region(ipc::anonymous_shared_memory(sizeof(Shared)));
    Shared &shared = *new (region.get_address()) Shared;
    std::unique_ptr<ipc::named_mutex> mutex;
    std::vector<uint64_t> waits;
    auto visit = [&] {
        ipc::scoped_lock<ipc::interprocess_mutex> lock(shared.mutex);
        for (auto &word : shared.section) word = word + 1;
    };
    auto read = [&] {
        shared.sharable.lock_sharable();
        shared.sharable.unlock_sharable();
    };
    bool made = false;

    std::string question;
    while (std::getline(std::cin, question)) {
        try {
            auto space = question.find(' ');
            std::string work = question.substr(0, space);
            long count = std::stol(question.substr(space + 1));
            double figure;
            if (work == "create") {
                figure = each(count, [&] {
                    {
                        ipc::shared_memory_object object(ipc::create_only, name.c_str(), ipc::read_write);
                        object.truncate(4096);
                        ipc::mapped_region mapped(object, ipc::read_write);
                        *static_cast<volatile char *>(mapped.get_address()) = 1;
                    }
                    ipc::shared_memory_object::remove(name.c_str());
                });
            } else if (work == "open") {
                if (!made) {
                    ipc::shared_memory_object(ipc::create_only, kept.c_str(), ipc::read_write).truncate(4096);
                    made = true;
                }
                figure = each(count, [&] {
                    ipc::shared_memory_object object(ipc::open_only, kept.c_str(), ipc::read_write);
                    ipc::mapped_region mapped(object, ipc::read_write);
                });
            } else if (work == "mutex") {
                figure = each(count, [&] { shared.mutex.lock(); shared.mutex.unlock(); });
            } else if (work == "named_mutex") {
                if (!mutex) mutex.reset(new ipc::named_mutex(ipc::create_only, named.c_str()));
                figure = each(count, [&] { mutex->lock(); mutex->unlock(); });
            } else if (work == "sharable") {
                figure = each(count, read);
            } else if (work == "semaphore") {
                figure = each(count, [&] { shared.semaphore.wait(); shared.semaphore.post(); });
            } else if (work == "contend") {
                figure = contend(shared, count, visit, visit);
            } else if (work == "contend-wait") {
                // The longest in a thousand.
                waits.clear();
                waits.reserve(1 << 20);
                uint64_t last = now();
                contend(shared, count, visit, [&] {
                    visit();
                    uint64_t at = now();
                    waits.push_back(at - last);
                    last = at;
                });
                std::sort(waits.begin(), waits.end());
                figure = waits[waits.size() - 1 - waits.size() / 1000];
            } else if (work == "readers") {
                figure = contend(shared, count, read, read);
            } else if (work == "wake-semaphore") {
                figure = woken(shared, [&] { shared.wake.wait(); }, [&] {
                    shared.sent = now();
                    shared.wake.post();
                });
            } else if (work == "wake-condition") {
                shared.turn = 0;
                figure = woken(
                    shared,
                    [&] {
                        ipc::scoped_lock<ipc::interprocess_mutex> lock(shared.guard);
                        while (shared.turn == 0) shared.condition.wait(lock);
                    },
                    [&] {
                        {
                            ipc::scoped_lock<ipc::interprocess_mutex> lock(shared.guard);
                            shared.turn = 1;
                        }
                        shared.sent = now();
                        shared.condition.notify_one();
                    });
            } else if (work == "trip-semaphore") {
                shared.state = 0;
                Partner partner([&] {
                    shared.state = 1;
                    for (long i = 0; i < count; i++) {
                        shared.wake.wait();
                        shared.answer.post();
                    }
                    pause();
                });
                pause_until(shared.state, 1);
                figure = each(count, [&] {
                    shared.wake.post();
                    shared.answer.wait();
                });
            } else if (work == "trip-condition") {
                shared.turn = 0;
                shared.state = 0;
                auto pass = [&](int mine) {
                    ipc::scoped_lock<ipc::interprocess_mutex> lock(shared.guard);
                    while (shared.turn != mine) shared.condition.wait(lock);
                    shared.turn = 1 - mine;
                    shared.condition.notify_one();
                };
                Partner partner([&] {
                    shared.state = 1;
                    for (long i = 0; i < count; i++) pass(1);
                    shared.state = 2;
                    pause();
                });
                // As the others: not with the time that it takes to fork.
                pause_until(shared.state, 1);
                figure = each(count, [&] { pass(0); });
                // Killed within, it would leave a lock locked.
                pause_until(shared.state, 2);
            } else {
                throw std::runtime_error("there is no work " + work);
            }
            std::cout << figure << std::endl;
        } catch (const std::exception &error) {
            std::cout << "error: " << error.what() << std::endl;
        }
    }
    ipc::shared_memory_object::remove(name.c_str());
    ipc::shared_memory_object::remove(kept.c_str());
    ipc::named_mutex::remove(named.c_str());
}
