/* The yardstick: one rank of n that exchange frames over connected sockets, in plain C.
 *
 *   exchange REPEATS WARM_UP FD.. < SCHEDULE
 *
 * FD is the socket to each rank, -1 for the own one. SCHEDULE is the number of rounds, then for each
 * round and each rank the payload bytes to send to it and to receive from it, -1 for no frame. A
 * frame is an 8-byte header and its payload, as in the engine. Prints seconds per exchange (all
 * rounds of one), the mean over REPEATS. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 8, MAX_RANKS = 64 };

typedef struct {
    long send, receive; /* payload bytes of a frame, -1: none */
} frame;

typedef struct {
    int fd;
    char *out, *in;
    uint64_t send_header, receive_header;
    long sent, to_send, got, to_receive;
} peer;

static peer peers[MAX_RANKS];
static int n_ranks;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int pieces(struct iovec *iov, uint64_t *header, char *payload, long size, long done) {
    if (done >= HEADER) {
        iov[0] = (struct iovec){payload + done - HEADER, (size_t)(size - done)};
        return 1;
    }
    iov[0] = (struct iovec){(char *)header + done, (size_t)(HEADER - done)};
    iov[1] = (struct iovec){payload, (size_t)(size - HEADER)};
    return 2;
}

static void advance(peer *p) {
    struct iovec iov[2];
    if (p->sent < p->to_send) {
        int n = pieces(iov, &p->send_header, p->out, p->to_send, p->sent);
        ssize_t moved = writev(p->fd, iov, n);
        if (moved > 0) p->sent += moved;
        else if (moved < 0 && errno != EAGAIN && errno != EINTR) fail("writev");
    }
    if (p->got < p->to_receive) {
        int n = pieces(iov, &p->receive_header, p->in, p->to_receive, p->got);
        ssize_t moved = readv(p->fd, iov, n);
        if (moved > 0) p->got += moved;
        else if (moved == 0) exit(2);
        else if (errno != EAGAIN && errno != EINTR) fail("readv");
    }
}

static void run_round(const frame *frames) {
    struct pollfd polled[MAX_RANKS];
    for (int rank = 0; rank < n_ranks; rank++) {
        peer *p = &peers[rank];
        p->sent = p->got = 0;
        p->to_send = frames[rank].send < 0 ? 0 : HEADER + frames[rank].send;
        p->to_receive = frames[rank].receive < 0 ? 0 : HEADER + frames[rank].receive;
        p->send_header = (uint64_t)frames[rank].send;
    }
    for (;;) {
        int n = 0;
        for (int rank = 0; rank < n_ranks; rank++) {
            peer *p = &peers[rank];
            if (p->sent == p->to_send && p->got == p->to_receive) continue;
            advance(p);
            short wanted = (short)((p->sent < p->to_send ? POLLOUT : 0) |
                                   (p->got < p->to_receive ? POLLIN : 0));
            if (wanted) polled[n++] = (struct pollfd){p->fd, wanted, 0};
        }
        if (n == 0) return;
        if (poll(polled, (nfds_t)n, -1) < 0 && errno != EINTR) fail("poll");
    }
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc - 3 > MAX_RANKS) {
        fprintf(stderr, "usage: exchange REPEATS WARM_UP FD.. < SCHEDULE\n");
        return 2;
    }
    long repeats = atol(argv[1]), warm_up = atol(argv[2]), n_rounds;
    n_ranks = argc - 3;
    if (scanf("%ld", &n_rounds) != 1) return 2;
    frame *frames = calloc((size_t)(n_rounds * n_ranks), sizeof(frame));
    long largest = 1;
    for (long i = 0; i < n_rounds * n_ranks; i++) {
        if (scanf("%ld %ld", &frames[i].send, &frames[i].receive) != 2) return 2;
        if (frames[i].send > largest) largest = frames[i].send;
        if (frames[i].receive > largest) largest = frames[i].receive;
    }
    for (int rank = 0; rank < n_ranks; rank++) {
        peer *p = &peers[rank];
        p->fd = atoi(argv[3 + rank]);
        p->out = calloc(1, (size_t)largest);
        p->in = calloc(1, (size_t)largest);
        if (!p->out || !p->in) fail("calloc");
        if (p->fd >= 0 && fcntl(p->fd, F_SETFL, O_NONBLOCK) < 0) fail("fcntl");
    }
    double start_s = 0;
    for (long i = -warm_up; i < repeats; i++) {
        if (i == 0) start_s = now_s();
        for (long round = 0; round < n_rounds; round++) run_round(frames + round * n_ranks);
    }
    printf("%.9f\n", (now_s() - start_s) / (double)repeats);
    return 0;
}
