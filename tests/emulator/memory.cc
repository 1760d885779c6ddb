/* The emulator's memory: device allocations in one region that the host can touch only while work
 * runs, and pinned host allocations.
 *
 * Every block of device memory lies between guards: poisoned under AddressSanitizer, else filled
 * with a pattern that is checked whenever work has run. New and freed memory is 0xFF: NaN in
 * float32 and bf16, so that a read of what was never written shows. */
#include "state.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifdef WITH_ASAN
#include <sanitizer/asan_interface.h>
#else
#define WITH_ASAN 0
#define ASAN_POISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(data, bytes) ((void)(data), (void)(bytes))
#endif

namespace emulator {
namespace {

constexpr size_t region_bytes = size_t(64) << 30; /* of addresses; memory comes as it is touched */
constexpr size_t guard_bytes = 256, page = 4096;
constexpr size_t quarantine_bytes = size_t(128) << 20;
constexpr unsigned char guard_pattern = 0xA5, fresh_pattern = 0xFF;

struct block {
    size_t bytes; /* as asked for */
    size_t size;  /* with guards */
    int device;
};

char *region, *top; /* top: the end of what was ever used */
int open_count;
bool always_open;
std::map<char *, block> blocks;                   /* by the address given out */
std::map<char *, size_t> holes;                   /* free to be used again, by start */
std::deque<std::pair<char *, size_t>> quarantine; /* freed not long ago */
size_t quarantined;
std::map<char *, size_t> pinned_blocks;

size_t rounded(size_t bytes, size_t unit) {
    return (bytes + unit - 1) / unit * unit;
}

void protect(char *begin, char *end, int protection) {
    begin = region + size_t(begin - region) / page * page;
    end = region + rounded(size_t(end - region), page);
    if (end > begin && mprotect(begin, size_t(end - begin), protection) != 0) {
        perror("emulator: mprotect");
        abort();
    }
}

bool is_open() {
    return open_count > 0 || always_open;
}

/* Opens only the pages of one block, to fill it. */
struct window {
    char *begin, *end;
    window(char *from, size_t bytes) : begin(from), end(from + bytes) {
        if (!is_open())
            protect(begin, end, PROT_READ | PROT_WRITE);
    }
    ~window() {
        if (!is_open())
            protect(begin, end, PROT_NONE);
    }
};

char *take(size_t size) {
    for (auto hole = holes.begin(); hole != holes.end(); ++hole)
        if (hole->second >= size) {
            char *start = hole->first;
            size_t rest = hole->second - size;
            holes.erase(hole);
            if (rest)
                holes[start + size] = rest;
            return start;
        }
    if (!region) {
        void *map = mmap(nullptr, region_bytes, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (map == MAP_FAILED) {
            perror("emulator: mmap");
            abort();
        }
        region = top = static_cast<char *>(map);
    }
    if (size_t(region + region_bytes - top) < size)
        return nullptr;
    char *start = top;
    top += size;
    if (is_open())
        protect(start, top, PROT_READ | PROT_WRITE);
    return start;
}

void give(char *start, size_t size) {
    auto next = holes.lower_bound(start);
    if (next != holes.end() && start + size == next->first) {
        size += next->second;
        next = holes.erase(next);
    }
    if (next != holes.begin()) {
        auto before = std::prev(next);
        if (before->first + before->second == start) {
            before->second += size;
            return;
        }
    }
    holes[start] = size;
}

/* The bytes around what was asked for. */
template <typename function> void each_guard(char *data, const block &of, function visit) {
    visit(data - guard_bytes, guard_bytes);
    visit(data + of.bytes, of.size - guard_bytes - of.bytes);
}

void check_guard(char *data, const block &of, const char *what) {
    each_guard(data, of, [&](char *start, size_t bytes) {
        for (size_t i = 0; i < bytes; i++)
            if (static_cast<unsigned char>(start[i]) != guard_pattern)
                misuse(what, start < data ? "something wrote before the start of device memory"
                                          : "something wrote past the end of device memory");
    });
}

template <typename map> auto containing(map &from, const void *data) {
    auto at = from.upper_bound(static_cast<char *>(const_cast<void *>(data)));
    return at == from.begin() ? from.end() : std::prev(at);
}

} // namespace

device_access::device_access() {
    if (open_count++ == 0 && !always_open && region)
        protect(region, top, PROT_READ | PROT_WRITE);
}

device_access::~device_access() {
    if (--open_count == 0 && !always_open && region)
        protect(region, top, PROT_NONE);
}

void *allocate(size_t bytes, int device) {
    size_t size = guard_bytes + rounded(bytes, 256) + guard_bytes;
    char *start = take(size);
    if (!start)
        return nullptr;
    char *data = start + guard_bytes;
    block made = {bytes, size, device};
    window open(start, size);
    ASAN_UNPOISON_MEMORY_REGION(start, size);
    memset(data, fresh_pattern, bytes);
    each_guard(data, made, [](char *bytes_there, size_t count) {
        if (!WITH_ASAN)
            memset(bytes_there, guard_pattern, count);
        ASAN_POISON_MEMORY_REGION(bytes_there, count);
    });
    blocks[data] = made;
    live.allocations++;
    live.bytes += bytes;
    return data;
}

bool release(void *data) {
    auto found = blocks.find(static_cast<char *>(data));
    if (found == blocks.end())
        return false;
    block old = found->second;
    char *start = found->first - guard_bytes;
    {
        window open(start, old.size);
        if (!WITH_ASAN)
            check_guard(found->first, old, "cudaFree");
        memset(found->first, fresh_pattern, old.bytes);
        ASAN_POISON_MEMORY_REGION(start, old.size);
    }
    blocks.erase(found);
    live.allocations--;
    live.bytes -= old.bytes;
    quarantine.emplace_back(start, old.size);
    for (quarantined += old.size; quarantined > quarantine_bytes; quarantine.pop_front()) {
        give(quarantine.front().first, quarantine.front().second);
        quarantined -= quarantine.front().second;
    }
    return true;
}

void check_guards(const char *what) {
    if (!WITH_ASAN)
        for (auto &entry : blocks)
            check_guard(entry.first, entry.second, what);
}

bool on_device(const void *data) {
    const char *at = static_cast<const char *>(data);
    return region && at >= region && at < region + region_bytes;
}

size_t used(int device) {
    size_t sum = 0;
    for (auto &entry : blocks)
        if (entry.second.device == device)
            sum += rounded(entry.second.bytes, 512);
    return sum;
}

void *allocate_pinned(size_t bytes) {
    void *data = nullptr;
    if (posix_memalign(&data, page, bytes) != 0)
        return nullptr;
    memset(data, fresh_pattern, bytes);
    pinned_blocks[static_cast<char *>(data)] = bytes;
    live.pinned++;
    return data;
}

bool release_pinned(void *data) {
    if (!pinned_blocks.erase(static_cast<char *>(data)))
        return false;
    free(data);
    live.pinned--;
    return true;
}

bool pinned(const void *data) {
    auto at = containing(pinned_blocks, data);
    return at != pinned_blocks.end() && static_cast<const char *>(data) < at->first + at->second;
}

bool reachable(const void *data, size_t bytes) {
    guard hold(mutex);
    const char *begin = static_cast<const char *>(data);
    auto fits = [&](char *start, size_t size) {
        return begin <= start + size && bytes <= size_t(start + size - begin);
    };
    if (on_device(data)) {
        auto at = containing(blocks, data);
        return at != blocks.end() && fits(at->first, at->second.bytes);
    }
    auto at = containing(pinned_blocks, data);
    return at != pinned_blocks.end() && fits(at->first, at->second);
}

} // namespace emulator

void emulator_open_memory(bool open) {
    using namespace emulator;
    guard hold(mutex);
    always_open = open;
    if (region && open_count == 0)
        protect(region, top, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}
