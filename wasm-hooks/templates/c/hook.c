// A hook: publishes key, size and number of lines of each new object.
#undef NDEBUG // zig defines it with -Os, and `assert` would do nothing
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "gen/hook.h"

// Lines of the event's object, from front to back however large it is: only one piece lies in the hook's memory.
static bool count_lines(unsigned long long *lines) {
    aerie_hook_object_own_reader_t reader;
    aerie_hook_object_error_t error;
    if (!aerie_hook_object_open(0, NULL, &reader, &error)) return false;
    hook_list_u8_t piece = { NULL, 0 };
    bool read;
    do {
        hook_list_u8_free(&piece);
        read = aerie_hook_object_method_reader_read(aerie_hook_object_borrow_reader(reader), 256 << 10, &piece, &error);
        for (size_t i = 0; read && i < piece.len; i++) *lines += piece.ptr[i] == '\n';
    } while (read && piece.len > 0);
    aerie_hook_object_reader_drop_own(reader);
    return read;
}

// JSON needs quotes, backslashes and control characters escaped; a key may have any of them.
static int escaped(char *to, hook_string_t from) {
    char *at = to;
    for (size_t i = 0; i < from.len; i++) {
        unsigned char c = from.ptr[i];
        at += sprintf(at, c < 0x20 || c == '"' || c == '\\' ? "\\u%04x" : "%c", c);
    }
    return at - to;
}

// `assert` tells what failed, and where: a line of `aerie hook logs`, and part of the attempt's error.
void __assert_fail(const char *condition, const char *file, int line, const char *function) {
    char text[512];
    int length = snprintf(text, sizeof text, "assertion failed: %s, at %s:%d in %s", condition, file, line, function);
    hook_string_t message = { (uint8_t *)text, length < (int)sizeof text ? length : (int)sizeof text - 1 };
    aerie_hook_log_write(AERIE_HOOK_LOG_LEVEL_ERROR, &message);
    __builtin_trap();
}

static bool failed(hook_failure_t *failure, const char *message) {
    hook_string_dup(&failure->message, message);
    failure->retry = true;
    return false;
}

bool exports_hook_on_event(hook_event_t *event, hook_failure_t *failure) {
    unsigned long long lines = 0;
    if (!count_lines(&lines)) return failed(failure, "the object could not be read");

    char *text = malloc(6 * event->key.len + 96);
    int length = sprintf(text, "{\"key\":\"");
    length += escaped(text + length, event->key);
    length += sprintf(text + length, "\",\"size\":%llu,\"lines\":%llu}", (unsigned long long)event->size, lines);

    hook_list_u8_t payload = { (uint8_t *)text, length };
    aerie_hook_results_error_t error;
    bool published = aerie_hook_results_publish(NULL, &payload, &error);
    free(text);
    return published || failed(failure, "the host did not take the message");
}
