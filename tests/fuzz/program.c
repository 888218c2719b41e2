/* program.c: fuzzes what a program says: the frames of a socket, the messages in them, and the types of a hello. The input
 * is what the program sends, in pieces: the first byte of each piece is its size. Whatever comes, a message that is taken
 * is within its frame, and a frame within its bytes.
 *
 * The types of the last hello are only read where they stand: the host keeps those that are added for ever. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "handlers/program/frame.h"
#include "handlers/program/message.h"
#include "tests/fuzz/input.h"

static void must_lie_in(const struct json_span *s, const struct bytes *json) {
    const char *from = json->data;
    if (s->at == NULL)
        return;
    MUST(s->at >= from && s->end <= from + json->size && s->at < s->end);
}

static void read_error(const struct json_span *error, const struct bytes *json) {
    static const char *const names[] = {"code", "detail", "pointer", "exception", "traceback"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char text[16];
        uint64_t number;
        struct json_span member = message_member(error, names[i]);
        must_lie_in(&member, json);
        bool is_text = message_text(&member, text, sizeof text), is_number = message_u64(&member, &number);
        MUST(strlen(text) < sizeof text && !(is_text && is_number));
        MUST(!is_number || number <= UINT64_C(1) << 53);
    }
}

static void read_elements(const struct json_span *list, const struct bytes *json) {
    struct json_span element;
    const char *at = list->at == NULL ? NULL : list->at + 1;
    while (at != NULL && scan_next_element(&at, list->end, &element)) {
        must_lie_in(&element, json);
        read_error(&element, json);
    }
}

static void read_message(const struct bytes *json) {
    struct message m;
    const char *why = NULL;
    char *copy = exact_copy(json->data, json->size);
    struct bytes exact = {copy, json->size};
    if (message_read(exact, &m, &why) != 0) {
        MUST(why != NULL && why[0] != '\0');
        free(copy);
        return;
    }
    const struct json_span *const spans[] = {&m.value,        &m.values, &m.error,   &m.chunks,
                                             &m.forked_error, &m.types,  &m.sources, &m.binary};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        must_lie_in(spans[i], &exact);
    MUST(m.kind != MESSAGE_RESULT ||
         (m.value.at != NULL) + (m.values.at != NULL) + (m.error.at != NULL) + (m.binary.at != NULL) == 1);
    struct message_bytes bytes;
    if (m.binary.at != NULL && message_read_bytes(&m.binary, &bytes, &why) == 0)
        MUST(message_is_media_type(bytes.media_type));
    MUST(m.kind != MESSAGE_FORKED || (m.pid == 0) == (m.forked_error.at != NULL) || m.pid > 1);
    MUST(m.pid >= 0 && m.pid <= INT32_MAX && m.cancel_signal >= 0 && m.cancel_signal < 65);
    read_elements(&m.values, &exact);
    read_elements(&m.chunks, &exact);
    read_elements(&m.types, &exact);
    read_elements(&m.sources, &exact);
    if (m.error.at != NULL)
        read_error(&m.error, &exact);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct input in = {data, size};
    struct frames frames;
    struct bytes json;
    int fds[2], got = 0;
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    frames_open(&frames, fds[0]);
    frames.takes_binary = frames.takes_fds = true;
    while (in.size > 0 && got >= 0) {
        struct input piece = take_bytes(&in, take_u8(&in) + 1u);
        if (piece.size == 0)
            break;
        MUST(send(fds[1], piece.data, piece.size, MSG_NOSIGNAL) == (ssize_t)piece.size);
        MUST(frames_receive(&frames) == 0);
        while ((got = frames_next(&frames, &json)) == 1) {
            MUST(json.size >= 2 && (const char *)json.data + json.size <= frames.in.data + frames.in.size);
            MUST((const char *)frames.binary.data + frames.binary.size <= frames.in.data + frames.in.size);
            read_message(&json);
        }
    }
    close(fds[1]);
    while (frames_receive(&frames) == 0)
        continue;
    frames_close(&frames);
    return 0;
}
