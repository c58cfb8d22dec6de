// A transform: a GET gives the first KiB of an object in its place.
#undef NDEBUG // zig defines it with -Os, and `assert` would do nothing
#include <assert.h>
#include <stdio.h>

#include "gen/transform.h"

// `assert` tells what failed, and where: a line of `aerie hook logs`, and part of the attempt's error.
void __assert_fail(const char *condition, const char *file, int line, const char *function) {
    char text[512];
    int length = snprintf(text, sizeof text, "assertion failed: %s, at %s:%d in %s", condition, file, line, function);
    transform_string_t message = { (uint8_t *)text, length < (int)sizeof text ? length : (int)sizeof text - 1 };
    aerie_hook_log_write(AERIE_HOOK_LOG_LEVEL_ERROR, &message);
    __builtin_trap();
}

static bool failed(transform_failure_t *failure, const char *message) {
    transform_string_dup(&failure->message, message);
    failure->retry = true;
    return false;
}

bool exports_transform_transform(transform_string_t *bucket, transform_string_t *key, transform_response_t *response,
                                 transform_failure_t *failure) {
    aerie_hook_object_info_t info;
    aerie_hook_object_error_t error;
    if (!aerie_hook_object_describe(&info, &error)) return failed(failure, "the object is gone");
    response->content_type = info.content_type;
    return aerie_hook_object_read(0, 1024, &response->bytes, &error) || failed(failure, "the object could not be read");
}
