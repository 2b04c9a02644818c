/* The floor: about the least a supervisor can do. Starts N children in their own sessions, restarts each that
   ends, ends all of them on SIGTERM. No status, no logs, no policy, no adoption. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static pid_t *pids;
static int count;
static const char *program, *report;
static posix_spawnattr_t attributes;
static posix_spawn_file_actions_t actions;

static void start(int i) {
    char index[16];
    snprintf(index, sizeof index, "%d", i);
    char *argv[] = {(char *)program, index, (char *)report, NULL};
    if (posix_spawn(&pids[i], program, &actions, &attributes, argv, environ)) exit(1);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    count = atoi(argv[1]), program = argv[2], report = argv[3];
    pids = calloc(count, sizeof *pids);
    sigset_t wanted, none;
    sigemptyset(&none);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int i = 0; i < count; i++) start(i);
    for (;;) {
        int signal_number, status;
        pid_t pid;
        sigwait(&wanted, &signal_number);
        if (signal_number == SIGTERM) break;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
            for (int i = 0; i < count; i++)
                if (pids[i] == pid) { start(i); break; }
    }
    for (int i = 0; i < count; i++) kill(pids[i], SIGTERM);
    for (int i = 0; i < count; i++) waitpid(pids[i], NULL, 0);
    return 0;
}
