/* `cairn params --plot-lr`: the learning rate over the run, as a picture of characters. */
#include "cli.h"

#include "cairn/dataset.h"
#include "cairn/schedule.h"
#include "cairn/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 64, ROWS = 12 };

/* The rates at which COLUMNS steps begin, evenly spread over the run; the greatest of them all. */
static double sample(const cairn_config *config, uint32_t steps_per_epoch, double rates[COLUMNS]) {
    uint64_t steps = (uint64_t)config->train.epochs * steps_per_epoch;
    double top = 0;
    for (int column = 0; column < COLUMNS; column++) {
        uint32_t step = (uint32_t)((steps - 1) * (uint64_t)column / (COLUMNS - 1));
        const cairn_schedule_place place = {step / steps_per_epoch, step, steps_per_epoch, NULL};
        rates[column] = cairn_schedule_rate(config, &place);
        top = rates[column] > top ? rates[column] : top;
    }
    return top;
}

cairn_status cairn_plot_rates(const cairn_config *config) {
    double rates[COLUMNS];
    if (config->schedule.name == CAIRN_SCHEDULE_PLATEAU)
        return cairn_error_set(CAIRN_BAD_INPUT, "params --plot-lr: the rates of plateau depend on "
                                                "the test losses to come");
    int images = 0;
    cairn_status status = cairn_dataset_train_count(config, &images);
    if (status)
        return status;
    int64_t samples = config->train.batch_size < images ? config->train.batch_size : images;
    samples *= config->train.accumulate;
    uint32_t steps_per_epoch = (uint32_t)((images + samples - 1) / samples);
    double top = sample(config, steps_per_epoch, rates);
    for (int row = ROWS; row >= 0; row--) {
        char line[COLUMNS + 1];
        for (int column = 0; column < COLUMNS; column++)
            line[column] = (int)(rates[column] / top * ROWS + 0.5) == row ? '*' : ' ';
        line[COLUMNS] = '\0';
        for (int last = COLUMNS - 1; last >= 0 && line[last] == ' '; last--)
            line[last] = '\0';
        if (row % 3 == 0)
            printf("%10.3g |%s\n", top * row / ROWS, line);
        else
            printf("%10s |%s\n", "", line);
    }
    printf("%10s +%.*s\n", "", COLUMNS,
           "----------------------------------------------------------------");
    printf("%10s 0%*lld %s of %u %s\n", "", COLUMNS - 1, (long long)config->train.epochs,
           cairn_noun(config->train.epochs, "epoch", "epochs"), steps_per_epoch,
           cairn_noun(steps_per_epoch, "step", "steps"));
    return CAIRN_OK;
}
