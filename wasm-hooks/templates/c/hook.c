// A hook: publishes key and size of each new object.
#include <stdio.h>
#include <stdlib.h>

#include "gen/hook.h"

// JSON needs quotes, backslashes and control characters escaped; a key may have any of them.
static int escaped(char *to, hook_string_t from) {
    char *at = to;
    for (size_t i = 0; i < from.len; i++) {
        unsigned char c = from.ptr[i];
        at += sprintf(at, c < 0x20 || c == '"' || c == '\\' ? "\\u%04x" : "%c", c);
    }
    return at - to;
}

bool exports_hook_on_event(hook_event_t *event, hook_failure_t *failure) {
    char *text = malloc(6 * event->key.len + 64);
    int length = sprintf(text, "{\"key\":\"");
    length += escaped(text + length, event->key);
    length += sprintf(text + length, "\",\"size\":%llu}", (unsigned long long)event->size);

    hook_list_u8_t payload = { (uint8_t *)text, length };
    aerie_hook_results_error_t error;
    bool published = aerie_hook_results_publish(NULL, &payload, &error);
    free(text);
    if (!published) {
        hook_string_dup(&failure->message, "the host did not take the message");
        failure->retry = true;
    }
    return published;
}
