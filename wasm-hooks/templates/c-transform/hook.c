// A transform: a GET gives the first KiB of an object in its place.
#include "gen/transform.h"

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
