/* Signals, thousands of them, in the middle of steps: the flag is set and nothing is damaged. The
 * executor's matrix products keep the stack register in the heap, where a handler without a stack
 * of its own would write (cairn/stop.h). */
#include "cairn/executor.h"
#include "cairn/rng.h"
#include "cairn/stop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 16, FEATURES = 2048, HIDDEN = 256 };

static const volatile sig_atomic_t *stop;
static volatile bool done;

static void *send_signals(void *target) {
    const struct timespec pause = {.tv_nsec = 20 * 1000};
    while (!done) {
        pthread_kill(*(pthread_t *)target, SIGINT);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void must(cairn_status status) {
    if (status)
        fail_msg("%s", cairn_error_message());
}

/* Enough for libraries to be hit while they use the stack register; our own plain loops do not. */
static uint32_t steps_of(const cairn_backend *backend) {
    return strcmp(backend->name, "reference") == 0 ? 20 : 300;
}

/* The parameters of a linear net after some steps. */
static float *train(const cairn_backend *backend, const cairn_net *net, size_t *bytes) {
    cairn_executor_options options = cairn_executor_defaults();
    cairn_executor *executor = NULL;
    uint8_t *images = malloc((size_t)BATCH * FEATURES), labels[BATCH];
    int32_t indices[BATCH];
    assert_non_null(images);
    options.batch = BATCH;
    options.threads = 2;
    for (size_t i = 0; i < (size_t)BATCH * FEATURES; i++)
        images[i] = (uint8_t)cairn_rng(1, CAIRN_RNG_TEST, 0, 0, i).word[0];
    for (int n = 0; n < BATCH; n++) {
        labels[n] = (uint8_t)(n % 10);
        indices[n] = n;
    }
    const cairn_split split = {BATCH, FEATURES, 1, 1, images, labels};
    must(cairn_executor_create(&executor, backend, net, &options));
    must(cairn_executor_upload(executor, CAIRN_SPLIT_TRAIN, &split));
    must(cairn_executor_initialise(executor, 1));
    for (uint32_t t = 0; t < steps_of(backend); t++) {
        const cairn_step step = {indices, t % 2 ? BATCH / 2 : BATCH, 0, t, 1e-3};
        if (t % 5 == 0 && stop) /* a signal a second after the first would end the test */
            stop = cairn_stop_install();
        must(cairn_executor_train_step(executor, &step));
    }
    *bytes = net->parameter[0].count * sizeof(float);
    float *values = malloc(*bytes);
    assert_non_null(values);
    must(cairn_executor_get(executor, CAIRN_PARAMETER, 0, values));
    cairn_executor_destroy(executor);
    free(images);
    return values;
}

static void signals_do_no_harm(void **state) {
    (void)state;
    cairn_net *net = NULL;
    size_t bytes = 0;
    must(cairn_net_create(&net, (cairn_shape){FEATURES, 1, 1}));
    must(cairn_net_linear(net, "0", HIDDEN));
    must(cairn_net_linear(net, "1", FEATURES));
    must(cairn_net_linear(net, "2", 10));
    for (const cairn_backend *const *backend = cairn_backends(); *backend; backend++) {
        if ((*backend)->probe() || !(*backend)->supports(CAIRN_FLOAT32))
            continue;
        pthread_t self = pthread_self(), sender;
        stop = NULL;
        float *quiet = train(*backend, net, &bytes);
        stop = cairn_stop_install();
        done = false;
        assert_int_equal(pthread_create(&sender, NULL, send_signals, &self), 0);
        float *disturbed = train(*backend, net, &bytes);
        done = true;
        pthread_join(sender, NULL);
        assert_memory_equal(quiet, disturbed, bytes);
        free(quiet);
        free(disturbed);
    }
    cairn_net_destroy(net);
}

/* The wait status of a process that the two signals come to, with so many seconds between them. */
static int end_of(int first, int second, double pause) {
    const struct timespec between = {(time_t)pause, (long)((pause - (double)(long)pause) * 1e9)};
    int status = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const volatile sig_atomic_t *flag = cairn_stop_install();
        raise(first);
        nanosleep(&between, NULL);
        raise(second);
        _exit(*flag ? 3 : 4);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void a_later_signal_ends_what_waits(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 4; i++) {
        int status = end_of(signals[i / 2], signals[i % 2], 0.05);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        status = end_of(signals[i / 2], signals[i % 2], 1.05);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signals[i % 2]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_later_signal_ends_what_waits), /* forks: before there are threads */
        cmocka_unit_test(signals_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
