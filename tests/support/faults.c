// A disk with faults, for the journal of a process that this library is preloaded into.
//
// CC_FAULTS_CONTROL names a file that says what goes wrong now: `eio` lets every sync fail, `enospc` every write, `lies`
// lets a sync do nothing and say that it has. CC_FAULTS_DURABLE names a folder that holds, under the same names, what of
// the files would be there after a power cut: a write gets there with the next sync of its file, and not before.
//
// Everything here speaks to the kernel directly, because the names of libc are its own.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 4096, FILES_MAX = 8, BLOCK = 1 << 16 };

// What of a file was written since its last sync.
struct pending {
    char name[64];
    int64_t from, to;
};

static struct pending files[FILES_MAX];
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;

// The name of the journal's file that a descriptor means; the shared index is in memory and no file of interest.
static const char *journal(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, buffer, NAME_MAX_BYTES - 1);
    if (length <= 0) return NULL;
    buffer[length] = 0;
    const char *name = strrchr(buffer, '/');
    if (!name || strncmp(name + 1, "journal.sqlite3", 15) != 0 || strstr(name, "-shm")) return NULL;
    return name + 1;
}

static int is_told(const char *fault) {
    const char *path = getenv("CC_FAULTS_CONTROL");
    char text[64] = "";
    if (!path) return 0;
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return strcmp(text, fault) == 0;
}

static struct pending *pending_of(const char *name) {
    for (int i = 0; i < FILES_MAX; i++) {
        if (!files[i].name[0]) {
            snprintf(files[i].name, sizeof files[i].name, "%s", name);
            files[i].from = INT64_MAX;
        }
        if (strcmp(files[i].name, name) == 0) return &files[i];
    }
    abort();
}

static void written(const char *name, int64_t from, int64_t to) {
    pthread_mutex_lock(&guard);
    struct pending *file = pending_of(name);
    if (from < file->from) file->from = from;
    if (to > file->to) file->to = to;
    pthread_mutex_unlock(&guard);
}

static void make_durable(int fd, const char *name) {
    static char block[BLOCK];
    char path[NAME_MAX_BYTES];
    const char *folder = getenv("CC_FAULTS_DURABLE");
    if (!folder) return;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    pthread_mutex_lock(&guard);
    struct pending *file = pending_of(name);
    long copy = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (copy < 0) abort();
    for (int64_t at = file->from; at < file->to;) {
        int64_t want = file->to - at < BLOCK ? file->to - at : BLOCK;
        long got = syscall(SYS_pread64, fd, block, want, at);
        if (got <= 0) break;
        if (syscall(SYS_pwrite64, copy, block, got, at) != got) abort();
        at += got;
    }
    syscall(SYS_ftruncate, copy, syscall(SYS_lseek, fd, 0, SEEK_END));
    syscall(SYS_close, copy);
    file->from = INT64_MAX;
    file->to = 0;
    pthread_mutex_unlock(&guard);
}

static int sync_file(int fd, long number) {
    char buffer[NAME_MAX_BYTES];
    const char *name = journal(fd, buffer);
    if (!name) return syscall(number, fd);
    if (is_told("lies")) return 0;
    if (is_told("eio")) {
        errno = EIO;
        return -1;
    }
    int64_t place = syscall(SYS_lseek, fd, 0, SEEK_CUR);
    make_durable(fd, name);
    syscall(SYS_lseek, fd, place, SEEK_SET);
    return syscall(number, fd);
}

int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

static ssize_t write_at(int fd, const void *bytes, size_t count, int64_t at) {
    char buffer[NAME_MAX_BYTES];
    const char *name = journal(fd, buffer);
    if (name && is_told("enospc")) {
        errno = ENOSPC;
        return -1;
    }
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, count, at);
    if (name && done > 0) written(name, at, at + done);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return write_at(fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return write_at(fd, bytes, count, at); }

ssize_t write(int fd, const void *bytes, size_t count) {
    char buffer[NAME_MAX_BYTES];
    if (!journal(fd, buffer)) return syscall(SYS_write, fd, bytes, count);
    int64_t at = syscall(SYS_lseek, fd, 0, SEEK_CUR);
    ssize_t done = write_at(fd, bytes, count, at);
    if (done > 0) syscall(SYS_lseek, fd, at + done, SEEK_SET);
    return done;
}
