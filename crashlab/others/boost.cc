// A named mutex, a message queue and managed shared memory of Boost.Interprocess: works on them until it is killed, or looks at what is left.
#include <boost/date_time/posix_time/posix_time_types.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/named_mutex.hpp>

#include <chrono>
#include <cstring>
#include <string>
#include <unistd.h>

namespace bi = boost::interprocess;

static void ready() {
    (void)!write(1, "r", 1);
}

// Whoever looks ends with 0 (well), 1 (stuck) or 2 (wrong).
int main(int, char **arguments) {
    const std::string what = arguments[1], who = arguments[2], name = arguments[3];
    const bool looks = who == "look";
    const auto soon = [] {
        return boost::posix_time::microsec_clock::universal_time() + boost::posix_time::milliseconds(150);
    };
    if (what == "queue") {
        bi::message_queue queue(bi::open_or_create, name.c_str(), 16, sizeof(long));
        long message = 7;
        bi::message_queue::size_type size;
        unsigned priority;
        if (!looks) {
            ready();
            for (;;) {
                queue.send(&message, sizeof message, 0);
                queue.receive(&message, sizeof message, size, priority);
            }
        }
        const bool had = queue.timed_send(&message, sizeof message, 0, soon()) &&
                         queue.timed_receive(&message, sizeof message, size, priority, soon());
        bi::message_queue::remove(name.c_str());
        return !had ? 1 : message == 7 ? 0 : 2;
    }
    if (what == "mutex") {
        bi::named_mutex mutex(bi::open_or_create, name.c_str());
        if (!looks) {
            ready();
            for (;;) {
                mutex.lock();
                mutex.unlock();
            }
        }
        const bool had = mutex.timed_lock(soon());
        bi::named_mutex::remove(name.c_str());
        return had ? 0 : 1;
    }
    bi::managed_shared_memory memory(bi::open_or_create, name.c_str(), 65536);
    if (!looks) {
        ready();
        for (;;) {
            memory.construct<long>("value")(7);
            memory.destroy<long>("value");
        }
    }
    // Takes the memory's lock: the laboratory ends it if it does not come to its end.
    const bool sane = memory.check_sanity();
    memory.find_or_construct<long>("value")(7);
    bi::shared_memory_object::remove(name.c_str());
    return sane ? 0 : 2;
}
