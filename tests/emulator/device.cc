/* The emulated device: blocks one after another, their threads on stacks of their own where they
 * wait for each other. */
#include "device.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <random>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CAIRN_EMULATOR_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#endif

namespace emulator {

/* Stacks ------------------------------------------------------------------------------------------
 */
#if defined(__x86_64__) && !defined(CAIRN_EMULATOR_UCONTEXT)
/* Saves what the System V ABI says a callee keeps, and takes the other stack's. swapcontext would
 * do, but asks the kernel about signals each time, which is what a shuffle would cost then. */
extern "C" void emulator_switch(void **save, void *take);
asm(R"(
    .text
    .type emulator_switch, @function
emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size emulator_switch, . - emulator_switch
)");

struct context {
    void *top = nullptr;

    void prepare(unsigned char *stack, size_t bytes, void (*entry)()) {
        void **end = (void **)(stack + bytes);
        *--end = nullptr; /* keeps entry's frame aligned as after a call */
        *--end = (void *)entry;
        for (int saved = 0; saved < 6; saved++)
            *--end = nullptr;
        top = end;
    }
    void leave_for(context &other) {
        emulator_switch(&top, other.top);
    }
};
#else
} // namespace emulator
#include <ucontext.h>
namespace emulator {
struct context {
    ucontext_t state;

    void prepare(unsigned char *stack, size_t bytes, void (*entry)()) {
        getcontext(&state);
        state.uc_stack.ss_sp = stack;
        state.uc_stack.ss_size = bytes;
        state.uc_link = nullptr;
        makecontext(&state, entry, 0);
    }
    void leave_for(context &other) {
        swapcontext(&state, &other.state);
    }
};
#endif

static const size_t stack_bytes = 128 << 10;

/* One stack, and where its run stands. */
struct fiber {
    context self;
    unsigned char *stack = nullptr;
    size_t bytes = 0;
    void *fake = nullptr; /* AddressSanitizer's */
    void *twin = nullptr; /* ThreadSanitizer's */
};

static fiber main_fiber;
static fiber *current = &main_fiber;

/* The stacks made so far, kept for the next block; a stack that overflows hits a closed page. */
static std::deque<fiber> fibers;

static void fiber_entered([[maybe_unused]] fiber *entered) {
#if defined(__SANITIZE_ADDRESS__)
    const void *bottom;
    size_t bytes;
    __sanitizer_finish_switch_fiber(entered->fake, &bottom, &bytes);
    if (!main_fiber.stack) { /* the first to enter a fiber came from the main stack */
        main_fiber.stack = (unsigned char *)bottom;
        main_fiber.bytes = bytes;
    }
#endif
}

static void switch_to(fiber *other) {
    fiber *from = current;
    current = other;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&from->fake, other->stack, other->bytes);
#elif defined(CAIRN_EMULATOR_TSAN)
    if (!main_fiber.twin)
        main_fiber.twin = __tsan_get_current_fiber();
    if (!other->twin)
        other->twin = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(other->twin, 0);
#endif
    from->self.leave_for(other->self);
    fiber_entered(from);
}

/* The block under way
 * ------------------------------------------------------------------------------
 */
enum class wait { none, barrier, exchange };

struct thread_state {
    uint3 place;
    fiber *home;
    bool exited;
    wait waiting;
    site at;
    /* An exchange's: */
    exchange_kind kind;
    unsigned mask;
    uint64_t value;
    int source;
};

static struct {
    const char *kernel;
    const std::function<void()> *body;
    std::vector<thread_state> threads;
    std::vector<unsigned> turns; /* threads in the order in which they run */
    size_t next_turn;            /* the first that has not begun */
    size_t cursor;               /* the turn of whose is next, once all have begun */
    size_t used;                 /* fibers */
    thread_state *running;
    std::vector<const void *> shared; /* the variables met so far */
    size_t shared_bytes;
} block;

static unsigned order_of_environment() {
    const char *text = std::getenv("CAIRN_EMULATOR_ORDER");
    return text ? (unsigned)std::strtoul(text, nullptr, 10) : 0;
}
unsigned order = order_of_environment();
thread_place here;

/* 0..count-1 as `order` says. */
static std::vector<unsigned> turns_of(size_t count) {
    std::vector<unsigned> turns(count);
    for (size_t i = 0; i < count; i++)
        turns[i] = (unsigned)i;
    if (order == 1)
        std::reverse(turns.begin(), turns.end());
    if (order > 1)
        std::shuffle(turns.begin(), turns.end(), std::mt19937(order));
    return turns;
}

static size_t index_of(const thread_state *thread) {
    return (size_t)(thread - block.threads.data());
}

/* Mostly one and the same text. */
static bool same_place(site a, site b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

static std::string text_of(site at) {
    const char *slash = std::strrchr(at.file, '/');
    return std::string(slash ? slash + 1 : at.file) + ":" + std::to_string(at.line);
}

[[noreturn]] static void stop(const std::string &why) {
    std::string place = "block (" + std::to_string(here.block.x) + "," +
                        std::to_string(here.block.y) + "," + std::to_string(here.block.z) + "): ";
    misuse(block.kernel, (place + why).c_str());
}

static void enter(thread_state *thread) {
    block.running = thread;
    here.thread = thread->place;
}

/* Whether two lanes of a warp wait in the same exchange. */
static bool meets(const thread_state &self, const thread_state &other) {
    return other.waiting == wait::exchange && other.kind == self.kind && other.mask == self.mask &&
           other.at.line == self.at.line;
}

/* Why nobody can go on. */
[[noreturn]] static void report_deadlock() {
    const thread_state *first = nullptr;
    for (const thread_state &thread : block.threads)
        if (thread.waiting == wait::exchange && !first)
            first = &thread;
    for (const thread_state &thread : block.threads)
        if (thread.waiting == wait::barrier && !first)
            first = &thread;
    size_t who = index_of(first);
    std::string name = "thread " + std::to_string(who) + " waits at " + text_of(first->at);
    if (first->waiting == wait::barrier) {
        for (const thread_state &thread : block.threads)
            if (thread.exited)
                stop(name + " for a barrier that thread " + std::to_string(index_of(&thread)) +
                     " left out by returning");
        stop(name + " for a barrier that the others do not reach");
    }
    size_t warp = who / 32 * 32;
    for (size_t lane = 0; lane < 32; lane++) {
        if (!(first->mask >> lane & 1u))
            continue;
        const thread_state &other = block.threads[warp + lane];
        if (other.exited)
            stop(name + " for lane " + std::to_string(lane) + ", which has returned");
        if (!meets(*first, other))
            stop(name + " for lane " + std::to_string(lane) + ", which waits at " +
                 text_of(other.at));
    }
    stop(name + " for ever");
}

/* Lets a barrier's threads go on when all of the block are there; false when not all are. */
static bool release_barrier() {
    const thread_state &first = block.threads[0];
    for (const thread_state &thread : block.threads) {
        if (thread.waiting != wait::barrier)
            return false;
        if (!same_place(thread.at, first.at))
            stop("thread 0 waits at the barrier of " + text_of(first.at) + ", thread " +
                 std::to_string(index_of(&thread)) + " at that of " + text_of(thread.at));
    }
    for (thread_state &thread : block.threads)
        thread.waiting = wait::none;
    return true;
}

static void fiber_main();

static fiber *make_fiber() {
    const size_t guard = 4096;
    void *memory = mmap(nullptr, guard + stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, guard, PROT_NONE) != 0) {
        std::perror("emulator: no memory for a thread's stack");
        std::abort();
    }
    fiber *made = &fibers.emplace_back();
    block.used++;
    made->stack = (unsigned char *)memory + guard;
    made->bytes = stack_bytes;
    made->self.prepare(made->stack, stack_bytes, fiber_main);
    return made;
}

/* Where it goes on: with a thread that has not begun, else with the next that does not wait; on the
 * main stack when all have come to their end. Threads hand over to each other directly. */
static fiber *next_fiber() {
    if (block.next_turn < block.turns.size())
        return block.used < fibers.size() ? &fibers[block.used++] : make_fiber();
    for (;;) {
        bool done = true;
        for (size_t tried = 0; tried < block.turns.size(); tried++) {
            const thread_state &thread = block.threads[block.turns[block.cursor]];
            block.cursor = block.cursor + 1 < block.turns.size() ? block.cursor + 1 : 0;
            if (!thread.exited && thread.waiting == wait::none)
                return thread.home;
            done = done && thread.exited;
        }
        if (done)
            return &main_fiber;
        if (!release_barrier())
            report_deadlock();
    }
}

/* Lets the other threads go on until it is this one's turn again. */
static void give_way(thread_state *thread) {
    fiber *next = next_fiber();
    if (next != current)
        switch_to(next);
    enter(thread);
}

/* A fiber's life: it runs threads that have not begun until none is left, or until one waits. */
static void fiber_main() {
    fiber_entered(current);
    for (;;) {
        while (block.next_turn < block.turns.size()) {
            thread_state *thread = &block.threads[block.turns[block.next_turn++]];
            thread->home = current;
            enter(thread);
            (*block.body)();
            thread->exited = true;
        }
        switch_to(next_fiber());
    }
}

/* Waiting -----------------------------------------------------------------------------------------
 */
void barrier(site at) {
    thread_state *self = block.running;
    self->waiting = wait::barrier;
    self->at = at;
    give_way(self);
}

int lane() {
    return (int)(index_of(block.running) % 32);
}

/* True when all lanes that lane `own` names wait in the same exchange. The next lane, which is
 * often the next to come, is looked at first. */
static bool all_present(const thread_state *warp, int own) {
    const thread_state &self = warp[own];
    for (int next = own + 1; next < own + 32; next++)
        if ((self.mask >> next % 32 & 1u) && !meets(self, warp[next % 32]))
            return false;
    return true;
}

/* Puts what each lane gets in the place of what it gave, and lets all go on. */
static void complete(unsigned mask, exchange_kind kind, thread_state *warp) {
    uint64_t given[32], ballot = 0;
    for (int l = 0; l < 32; l++)
        if (mask >> l & 1u) {
            given[l] = warp[l].value;
            ballot |= (uint64_t)(warp[l].value != 0) << l;
        }
    for (int l = 0; l < 32; l++)
        if (mask >> l & 1u) {
            warp[l].value = kind == exchange_kind::shuffle ? given[warp[l].source] : ballot;
            warp[l].waiting = wait::none;
        }
}

uint64_t exchange(exchange_kind kind, unsigned mask, uint64_t value, int source, site at) {
    thread_state *self = block.running;
    size_t first = index_of(self) / 32 * 32, lanes = block.threads.size() - first;
    int own = lane();
    if (!(mask >> own & 1u))
        stop("lane " + std::to_string(own) + " is not in the mask at " + text_of(at));
    if (lanes < 32 && mask >> lanes)
        stop("lane " + std::to_string(lanes) + " in the mask at " + text_of(at) +
             " does not exist");
    if (kind == exchange_kind::shuffle && !(mask >> source & 1u))
        stop("lane " + std::to_string(own) + " reads lane " + std::to_string(source) +
             ", which is not in the mask at " + text_of(at));
    self->waiting = wait::exchange;
    self->kind = kind;
    self->mask = mask;
    self->value = value;
    self->source = source;
    self->at = at;
    thread_state *warp = &block.threads[first];
    if (all_present(warp, own))
        complete(mask, kind, warp);
    else
        give_way(self);
    return self->value;
}

/* A float of 0xFF bytes is a NaN, and so are a double and a bf16. */
void begin_shared(void *variable, size_t bytes) {
    if (std::find(block.shared.begin(), block.shared.end(), variable) != block.shared.end())
        return;
    block.shared.push_back(variable);
    block.shared_bytes += bytes;
    if (block.shared_bytes > 48 << 10)
        stop("more than 48 KiB of shared memory");
    std::memset(variable, 0xFF, bytes);
}

/* Launches ----------------------------------------------------------------------------------------
 */
bool accept(const char *kernel, dim3 grid, dim3 shape) {
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFu || grid.y > 65535 ||
        grid.z > 65535) {
        refuse(kernel, cudaErrorInvalidConfiguration,
               "a grid has 1 to 2^31-1 by 65535 by 65535 blocks");
        return false;
    }
    if (shape.x == 0 || shape.y == 0 || shape.z == 0 || shape.z > 64 ||
        (uint64_t)shape.x * shape.y * shape.z > 1024) {
        refuse(kernel, cudaErrorInvalidConfiguration, "a block has 1 to 1024 threads, z to 64");
        return false;
    }
    return true;
}

void check_pointer(const char *kernel, const void *pointer) {
    if (pointer && !reachable(pointer, 1))
        misuse(kernel, "an argument points to memory that is not the device's");
}

void run(const char *kernel, dim3 grid, dim3 shape, const std::function<void()> &body) {
    block.kernel = kernel;
    block.body = &body;
    block.turns = turns_of((size_t)shape.x * shape.y * shape.z);
    here.grid_dim = grid;
    here.block_dim = shape;
    size_t rows = (size_t)grid.y * grid.x;
    for (size_t number : turns_of(rows * grid.z)) {
        here.block = {(unsigned)(number % grid.x), (unsigned)(number / grid.x % grid.y),
                      (unsigned)(number / rows)};
        block.threads.assign(block.turns.size(), thread_state());
        for (size_t t = 0; t < block.threads.size(); t++)
            block.threads[t].place = {(unsigned)(t % shape.x), (unsigned)(t / shape.x % shape.y),
                                      (unsigned)(t / ((size_t)shape.x * shape.y))};
        block.shared.clear();
        block.shared_bytes = 0;
        block.next_turn = block.cursor = block.used = 0;
        switch_to(next_fiber());
    }
}

} // namespace emulator
