/* Locks on devices, between processes: each takes a free one, and the kernel frees what a killed
 * process held. */
#include "folder.h"

#include "cairn/lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int devices;

/* As bus addresses are; the slash must not become a folder. */
static bool identify(int ordinal, char *name, size_t size) {
    snprintf(name, size, "bus/%d", ordinal);
    return ordinal < devices;
}

/* A process that takes a device, says which (or 255), and holds it until it is killed. */
static pid_t start_holder(bool wait, int *said) {
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        cairn_lock lock = {0};
        int ordinal = -1;
        if (cairn_lock_take_device(&lock, identify, wait, NULL, &ordinal))
            ordinal = 255;
        uint8_t byte = (uint8_t)ordinal;
        if (write(ends[1], &byte, 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    close(ends[1]);
    *said = ends[0];
    return child;
}

static int answer(int said) {
    uint8_t byte;
    assert_int_equal(read(said, &byte, 1), 1);
    close(said);
    return byte;
}

static void kill_holder(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void each_takes_a_free_device(void **state) {
    (void)state;
    pid_t held[3];
    int said;
    devices = 2;
    for (int i = 0; i < 3; i++) {
        held[i] = start_holder(false, &said);
        assert_int_equal(answer(said), i < 2 ? i : 255);
    }
    kill_holder(held[0]);
    pid_t next = start_holder(false, &said);
    assert_int_equal(answer(said), 0);
    kill_holder(next);
    kill_holder(held[1]);
    kill_holder(held[2]);
}

static void one_too_many_waits(void **state) {
    (void)state;
    int said;
    devices = 1;
    pid_t first = start_holder(false, &said);
    assert_int_equal(answer(said), 0);
    pid_t second = start_holder(true, &said);
    usleep(300 * 1000);
    assert_int_equal(waitpid(second, NULL, WNOHANG), 0);
    kill_holder(first);
    assert_int_equal(answer(said), 0);
    kill_holder(second);
}

static void waiting_can_be_stopped(void **state) {
    (void)state;
    const volatile sig_atomic_t stop = 1;
    cairn_lock lock = {0};
    int said, ordinal;
    devices = 1;
    pid_t first = start_holder(false, &said);
    answer(said);
    assert_int_equal(cairn_lock_take_device(&lock, identify, false, &stop, &ordinal),
                     CAIRN_BAD_INPUT);
    assert_string_equal(cairn_error_message(), "another run has the only device");
    assert_int_equal(cairn_lock_take_device(&lock, identify, true, &stop, &ordinal),
                     CAIRN_INTERRUPTED);
    kill_holder(first);
    assert_int_equal(cairn_lock_take_device(&lock, identify, true, &stop, &ordinal), CAIRN_OK);
    cairn_lock_release(&lock);
}

/* In a namespace of its own, as in a container, a process sees no number for those outside. */
static void a_holder_elsewhere_has_no_number(void **state) {
    (void)state;
    char path[sizeof folder + 16], text[512] = "";
    cairn_lock held = {0};
    int ends[2];
    snprintf(path, sizeof path, "%s/x.lock", folder);
    assert_int_equal(cairn_lock_take(&held, path), CAIRN_OK);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0)
            _exit(0);
        pid_t inside = fork();
        if (inside == 0) {
            cairn_lock lock = {0};
            const char *said = cairn_lock_take(&lock, path) ? cairn_error_message() : "taken";
            _exit(write(ends[1], said, strlen(said)) < 0);
        }
        waitpid(inside, NULL, 0);
        _exit(0);
    }
    close(ends[1]);
    if (read(ends[0], text, sizeof text - 1) == 0)
        strcpy(text, "");
    close(ends[0]);
    waitpid(child, NULL, 0);
    cairn_lock_release(&held);
    if (!*text)
        skip(); /* no namespaces here */
    assert_non_null(strstr(text, "x.lock: a process in another container or on another host"));
}

static int set_up(void **state) {
    return make_folder(state) || setenv("CAIRN_LOCKS", folder, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_takes_a_free_device),
        cmocka_unit_test(one_too_many_waits),
        cmocka_unit_test(waiting_can_be_stopped),
        cmocka_unit_test(a_holder_elsewhere_has_no_number),
    };
    return cmocka_run_group_tests(tests, set_up, remove_folder);
}
