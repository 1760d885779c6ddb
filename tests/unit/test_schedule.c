/* Learning rates against PyTorch's schedulers over whole runs (make_schedules.py), and what the
 * configuration refuses. */
#include "cairn/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCHS = 12, STEPS_PER_EPOCH = 7, OVERRIDES_MAX = 16 };

static const char base[] = "data: {dir: none}\nrun: {name: r}\n"
                           "train: {epochs: 12, batch_size: 1, lr: 0.2}\n";

/* "a=1;b=2" */
static cairn_config configured(char *assignments) {
    cairn_config config;
    const char *overrides[OVERRIDES_MAX];
    size_t count = 0;
    for (char *word = strtok(assignments, ";"); word; word = strtok(NULL, ";"))
        overrides[count++] = word;
    if (cairn_config_parse(&config, base, strlen(base), "base", overrides, count))
        fail_msg("%s", cairn_error_message());
    return config;
}

static void rates_are_pytorchs(void **state) {
    (void)state;
    char path[1024], *line = NULL;
    size_t size = 0;
    int cases = 0;
    snprintf(path, sizeof path, "%s/unit/fixtures/schedules.txt", CAIRN_TESTS_DIR);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (getline(&line, &size, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        char *name = strdup(line);
        cairn_config config = configured(line);
        cairn_epoch_row rows[EPOCHS] = {{0}};
        assert_true(getline(&line, &size, file) > 0);
        char *at = line;
        for (int i = 0; i < EPOCHS; i++)
            rows[i].test_loss = strtod(at, &at);
        assert_true(getline(&line, &size, file) > 0);
        at = line;
        for (uint32_t step = 0; step < EPOCHS * STEPS_PER_EPOCH; step++) {
            const cairn_schedule_place place = {step / STEPS_PER_EPOCH, step, STEPS_PER_EPOCH,
                                                rows};
            double want = strtod(at, &at), got = cairn_schedule_rate(&config, &place);
            if (!(fabs(got - want) <= 1e-7 * want + 1e-15))
                fail_msg("%s: step %u: rate %.17g, PyTorch has %.17g", name, step, got, want);
        }
        assert_int_equal(*at, '\n');
        free(name);
        cases++;
    }
    assert_true(cases >= 20);
    free(line);
    fclose(file);
}

static void milestones_are_checked(void **state) {
    (void)state;
    static const char *const bad[] = {"5 5", "5 4", "0 4", "a", "5,6", "1.5", "5 -6", "''"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[64];
        const char *override = text;
        cairn_config config;
        snprintf(text, sizeof text, "schedule.milestones=%s", bad[i]);
        assert_int_equal(cairn_config_parse(&config, base, strlen(base), "base", &override, 1),
                         CAIRN_BAD_INPUT);
        assert_non_null(strstr(cairn_error_message(), "rising whole numbers"));
    }
}

/* Warm-up as long as the run, or longer, or a run of one step, give rates all the same. */
static void extremes_give_rates(void **state) {
    (void)state;
    static const char *const names[] = {"constant",    "step",     "multistep",
                                        "exponential", "cosine",   "linear",
                                        "polynomial",  "onecycle", "plateau"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        for (int warmup = 0; warmup <= 200; warmup += 100)
            for (uint32_t steps = 1; steps <= 8; steps += 7) {
                char text[128];
                cairn_epoch_row rows[EPOCHS] = {{.test_loss = NAN}};
                snprintf(text, sizeof text, "schedule.name=%s;schedule.warmup=%d;train.epochs=%u",
                         names[i], warmup, steps);
                cairn_config config = configured(text);
                for (uint32_t step = 0; step < steps; step++) {
                    const cairn_schedule_place place = {step, step, 1, rows};
                    double rate = cairn_schedule_rate(&config, &place);
                    assert_true(rate >= 0 && rate <= 0.2);
                }
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_pytorchs),
        cmocka_unit_test(milestones_are_checked),
        cmocka_unit_test(extremes_give_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
