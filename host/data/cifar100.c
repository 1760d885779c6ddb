/* CIFAR-100 from its binary files (Krizhevsky 2009; www.cs.toronto.edu/~kriz/cifar.html):
 *
 *   cifar-100-binary/  train.bin, test.bin: 50,000 and 10,000 records of a coarse label byte (one
 *                      of 20 superclasses, not used here), a fine label byte (one of 100 classes)
 *                      and the red, green and blue planes of 32x32 bytes;
 *                      fine_label_names.txt: the classes' names, a line each */
#include "cairn/file.h"
#include "data.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { CIFAR100_CLASSES = 100, LABEL_BYTES = 2, RECORD = LABEL_BYTES + PIXELS };

static const char *const folders[] = {"/cifar-100-binary", ""}; /* below data.dir, or itself */
enum { FOLDERS = sizeof folders / sizeof folders[0] };

static const struct {
    const char *name;
    int records;
} files[] = {{"train.bin", TRAIN_COUNT}, {"test.bin", TEST_COUNT}};
enum { TRAIN, TEST, FILES };

/* The first folder in which any of the files is; NULL when there is none. */
static const char *find_folder(const char *dir) {
    char path[PATH_MAX];
    for (int i = 0; i < FOLDERS; i++)
        for (int f = 0; f < FILES; f++)
            if (!cairn_path_format(path, sizeof path, "%s%s/%s", dir, folders[i], files[f].name) &&
                cairn_file_exists(path))
                return folders[i];
    return NULL;
}

bool cairn_cifar100_complete(const char *dir) {
    const char *folder = find_folder(dir);
    char path[PATH_MAX];
    struct stat info;
    for (int f = 0; folder && f < FILES; f++)
        if (cairn_path_format(path, sizeof path, "%s%s/%s", dir, folder, files[f].name) ||
            stat(path, &info) != 0 || info.st_size != (off_t)files[f].records * RECORD)
            return false;
    return folder != NULL;
}

void cairn_cifar100_describe(cairn_dataset *dataset) {
    /* clang-format off */
    static const char *const names[CIFAR100_CLASSES] = {
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest",
        "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower",
        "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain",
        "mouse", "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear",
        "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit",
        "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk",
        "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower",
        "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train",
        "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm"};
    /* clang-format on */
    static const float mean[] = {0.5071f, 0.4865f, 0.4409f}, std[] = {0.2673f, 0.2564f, 0.2762f};
    dataset->classes = CIFAR100_CLASSES;
    for (int label = 0; label < CIFAR100_CLASSES; label++)
        strcpy(dataset->class_names[label], names[label]);
    memcpy(dataset->mean, mean, sizeof mean);
    memcpy(dataset->std, std, sizeof std);
}

static cairn_status read_split(const char *dir, const char *folder, int number,
                               cairn_split *split) {
    char path[PATH_MAX];
    const record_file file = {path, files[number].records, LABEL_BYTES};
    if (split->count == 0) /* training images stand in for it */
        return CAIRN_OK;
    cairn_status status =
        cairn_path_format(path, sizeof path, "%s%s/%s", dir, folder, files[number].name);
    if (!status)
        status = cairn_records_read(&file, split->count, split->images, split->labels);
    if (!status)
        status = cairn_labels_check(path, split->labels, split->count, CIFAR100_CLASSES);
    return status;
}

cairn_status cairn_cifar100_load(cairn_dataset *dataset, const cairn_config *config) {
    const char *dir = config->data.dir, *folder = find_folder(dir);
    char names[PATH_MAX];
    if (!folder)
        return cairn_data_missing(dir, "holds no cifar-100-binary", "cifar100");
    cairn_status status =
        cairn_path_format(names, sizeof names, "%s%s/fine_label_names.txt", dir, folder);
    if (!status)
        status = cairn_class_names_read(dataset, names);
    if (!status)
        status = read_split(dir, folder, TRAIN, &dataset->train);
    if (!status)
        status = read_split(dir, folder, TEST, &dataset->test);
    return status;
}
