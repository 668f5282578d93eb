/* A library for LD_PRELOAD (Linux, glibc) that watches and disturbs a program and its children.
 *
 * It logs what would leave the machine, and refuses it: getaddrinfo, getnameinfo, gethostbyname, gethostbyaddr and
 * their variants, and connect, sendto, sendmsg and sendmmsg on IPv4 and IPv6. It logs what is written: files that are
 * opened for writing or created, folders, links, renames and removals. By request, it fills the disk or kills the
 * process. It does not see what a program does without the C library (raw system calls, static programs, io_uring).
 *
 * Variables, read when a process first calls one of these functions:
 *
 *   SHIM_LOG         the file that gets a line for each call: the process's number, the call, its errno (0: done) and
 *                    its target, separated by tabs; control characters in a target are question marks. Targets are
 *                    absolute paths, or host:port. A rename is two lines, "rename" (old) and "rename-to" (new).
 *   SHIM_STATE       a file that the program and its children count in together; without it each process counts alone.
 *   SHIM_BELOW       an absolute folder without symbolic links: only what lies below it is full, and only calls on it
 *                    count towards the kill. Without it: everything.
 *   SHIM_FULL_AFTER  the number of bytes that can be written to files; what is written over or deleted is not given
 *                    back. A write that goes beyond is cut short, the next one fails with ENOSPC. Covers write, pwrite,
 *                    writev, pwritev, sendfile, copy_file_range, fallocate, and fwrite, fputs, fputc and fprintf, which
 *                    fail at once and not only when they are flushed.
 *   SHIM_KILL_AT     k: the process that comes to the k-th rename, link, symlink, unlink, rmdir, fsync or fdatasync
 *                    (their at-variants included) gets SIGKILL before it is done. The log's last line is "kill".
 */

#define _GNU_SOURCE
#undef _FORTIFY_SOURCE

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#undef fwrite_unlocked /* a macro in some versions */

/* The C library's own function of the name that is defined here. */
#define REAL(name)                                                     \
    ({                                                                 \
        static __typeof__(&name) real_;                                \
        if (!real_) real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
        real_;                                                         \
    })

/* What fails is logged with its errno, which the logging itself leaves as it was. */
#define LOGGED(call, expression, failed, target)                 \
    ({                                                           \
        __typeof__(expression) result_ = (expression);           \
        log_call(call, result_ == (failed) ? errno : 0, target); \
        result_;                                                 \
    })

/* ---- settings and counters ---- */

struct counters {
    unsigned long long written;
    unsigned long long strikes;
};

static struct counters own_counters, *counters = &own_counters;
static char log_path[PATH_MAX], below[PATH_MAX];
static unsigned long long full_after = ULLONG_MAX, kill_at;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_settings(void)
{
    const char *value;
    int before = errno;

    if ((value = getenv("SHIM_LOG"))) snprintf(log_path, sizeof log_path, "%s", value);
    if ((value = getenv("SHIM_BELOW"))) snprintf(below, sizeof below, "%s", value);
    if ((value = getenv("SHIM_FULL_AFTER"))) full_after = strtoull(value, NULL, 10);
    if ((value = getenv("SHIM_KILL_AT"))) kill_at = strtoull(value, NULL, 10);
    if ((value = getenv("SHIM_STATE"))) {
        int file = syscall(SYS_openat, AT_FDCWD, value, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        void *shared = MAP_FAILED;
        if (file >= 0 && syscall(SYS_ftruncate, file, sizeof *counters) == 0)
            shared = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared == MAP_FAILED) abort();
        counters = shared;
        syscall(SYS_close, file);
    }
    errno = before;
}

static void settle(void) { pthread_once(&once, read_settings); }

/* ---- paths ---- */

static const char *of_descriptor(int descriptor, char *path)
{
    char link[64];
    int before = errno;

    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
    errno = before;
    return path;
}

/* Makes a path absolute; buffer has room for PATH_MAX characters. */
static const char *absolute(int folder, const char *path, char *buffer)
{
    char base[PATH_MAX];
    int before = errno;

    if (!path || path[0] == '/') return path ? path : "";
    if (folder != AT_FDCWD)
        of_descriptor(folder, base);
    else if (!getcwd(base, sizeof base))
        base[0] = '\0';
    if (snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) buffer[PATH_MAX - 1] = '\0';
    errno = before;
    return buffer;
}

static int is_below(const char *path)
{
    size_t length = strlen(below);
    return strncmp(path, below, length) == 0 && (length == 0 || path[length] == '/' || path[length] == '\0');
}

/* ---- the log ---- */

static void log_call(const char *call, int error, const char *target)
{
    char line[PATH_MAX + 128];
    int before = errno;

    settle();
    if (!log_path[0]) return;
    int prefix = snprintf(line, sizeof line, "%d\t%s\t%d\t", (int)getpid(), call, error);
    int length = prefix + snprintf(line + prefix, sizeof line - prefix - 1, "%s", target ? target : "");
    if (length > (int)sizeof line - 2) length = sizeof line - 2;
    for (char *character = line + prefix; character < line + length; character++)
        if ((unsigned char)*character < ' ') *character = '?';
    line[length++] = '\n';
    /* System calls, which are not logged themselves; opened each time, because programs close what they do not know. */
    int file = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || syscall(SYS_write, file, line, (size_t)length) != length) abort();
    syscall(SYS_close, file);
    errno = before;
}

/* ---- the kill ---- */

static void strike(const char *path)
{
    settle();
    if (!kill_at || !is_below(path)) return;
    if (__atomic_add_fetch(&counters->strikes, 1, __ATOMIC_SEQ_CST) != kill_at) return;
    log_call("kill", 0, path);
    syscall(SYS_kill, getpid(), SIGKILL);
}

/* ---- the full disk ---- */

/* Returns how many of the bytes still fit, and counts them; what is no file below the folder has room for all. */
static int counts(int descriptor)
{
    struct stat facts;
    char path[PATH_MAX];

    settle();
    if (full_after == ULLONG_MAX) return 0;
    if (fstat(descriptor, &facts) != 0 || !S_ISREG(facts.st_mode)) return 0;
    return is_below(of_descriptor(descriptor, path));
}

static size_t room_for(size_t bytes, int descriptor)
{
    unsigned long long used;

    if (bytes == 0 || !counts(descriptor)) return bytes;
    used = __atomic_fetch_add(&counters->written, bytes, __ATOMIC_SEQ_CST);
    if (used + bytes <= full_after) return bytes;
    return used < full_after ? full_after - used : 0;
}

#define WITHIN_ROOM(name, descriptor, count, ...)                   \
    ({                                                              \
        size_t room = room_for(count, descriptor);                  \
        ssize_t done_ = -1;                                         \
        if (room == 0 && (count) > 0)                               \
            errno = ENOSPC;                                         \
        else                                                        \
            done_ = REAL(name)(__VA_ARGS__);                        \
        done_;                                                      \
    })

ssize_t write(int file, const void *data, size_t count) { return WITHIN_ROOM(write, file, count, file, data, room); }

ssize_t pwrite(int file, const void *data, size_t count, off_t at)
{
    return WITHIN_ROOM(pwrite, file, count, file, data, room, at);
}

ssize_t pwrite64(int file, const void *data, size_t count, off64_t at)
{
    return WITHIN_ROOM(pwrite64, file, count, file, data, room, at);
}

ssize_t sendfile(int to, int from, off_t *at, size_t count)
{
    return WITHIN_ROOM(sendfile, to, count, to, from, at, room);
}

ssize_t sendfile64(int to, int from, off64_t *at, size_t count)
{
    return WITHIN_ROOM(sendfile64, to, count, to, from, at, room);
}

ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags)
{
    return WITHIN_ROOM(copy_file_range, to, count, from, from_at, to, to_at, room, flags);
}

static size_t total(const struct iovec *parts, int number)
{
    size_t bytes = 0;
    for (int i = 0; i < number; i++) bytes += parts[i].iov_len;
    return bytes;
}

/* A vector that does not fit as a whole is cut to its first part that is not empty. */
#define VECTOR_WITHIN_ROOM(name, descriptor, parts, number, ...)                                        \
    ({                                                                                                  \
        size_t bytes = total(parts, number), room = room_for(bytes, descriptor);                        \
        const struct iovec *given = parts;                                                              \
        int several = number;                                                                           \
        struct iovec first;                                                                             \
        ssize_t done_ = -1;                                                                             \
        if (room < bytes) {                                                                             \
            while (given->iov_len == 0) given++;                                                        \
            first = (struct iovec){given->iov_base, room < given->iov_len ? room : given->iov_len};      \
            given = &first, several = 1;                                                                \
        }                                                                                               \
        if (room == 0 && bytes > 0)                                                                     \
            errno = ENOSPC;                                                                             \
        else                                                                                            \
            done_ = REAL(name)(descriptor, given, several, ##__VA_ARGS__);                              \
        done_;                                                                                          \
    })

ssize_t writev(int file, const struct iovec *parts, int number)
{
    return VECTOR_WITHIN_ROOM(writev, file, parts, number);
}

ssize_t pwritev(int file, const struct iovec *parts, int number, off_t at)
{
    return VECTOR_WITHIN_ROOM(pwritev, file, parts, number, at);
}

ssize_t pwritev64(int file, const struct iovec *parts, int number, off64_t at)
{
    return VECTOR_WITHIN_ROOM(pwritev64, file, parts, number, at);
}

ssize_t pwritev2(int file, const struct iovec *parts, int number, off_t at, int flags)
{
    return VECTOR_WITHIN_ROOM(pwritev2, file, parts, number, at, flags);
}

ssize_t pwritev64v2(int file, const struct iovec *parts, int number, off64_t at, int flags)
{
    return VECTOR_WITHIN_ROOM(pwritev64v2, file, parts, number, at, flags);
}

/* Reserving room takes none, because what is written there counts by itself. */
static int reserved(int file, off64_t bytes)
{
    if (!counts(file)) return 1;
    return __atomic_load_n(&counters->written, __ATOMIC_SEQ_CST) + bytes <= full_after;
}

int fallocate(int file, int mode, off_t at, off_t bytes)
{
    if (reserved(file, bytes)) return REAL(fallocate)(file, mode, at, bytes);
    errno = ENOSPC;
    return -1;
}

int fallocate64(int file, int mode, off64_t at, off64_t bytes)
{
    if (reserved(file, bytes)) return REAL(fallocate64)(file, mode, at, bytes);
    errno = ENOSPC;
    return -1;
}

int posix_fallocate(int file, off_t at, off_t bytes)
{
    return reserved(file, bytes) ? REAL(posix_fallocate)(file, at, bytes) : ENOSPC;
}

int posix_fallocate64(int file, off64_t at, off64_t bytes)
{
    return reserved(file, bytes) ? REAL(posix_fallocate64)(file, at, bytes) : ENOSPC;
}

static int fits(FILE *stream, size_t bytes)
{
    int before = errno;
    int descriptor = fileno(stream);
    int all = descriptor < 0 || room_for(bytes, descriptor) == bytes;
    errno = all ? before : ENOSPC;
    return all;
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *stream)
{
    return fits(stream, size * count) ? REAL(fwrite)(data, size, count, stream) : 0;
}

size_t fwrite_unlocked(const void *data, size_t size, size_t count, FILE *stream)
{
    return fits(stream, size * count) ? REAL(fwrite_unlocked)(data, size, count, stream) : 0;
}

int fputs(const char *text, FILE *stream) { return fits(stream, strlen(text)) ? REAL(fputs)(text, stream) : EOF; }

int fputc(int character, FILE *stream) { return fits(stream, 1) ? REAL(fputc)(character, stream) : EOF; }

int vfprintf(FILE *stream, const char *format, va_list values)
{
    va_list copy;
    va_copy(copy, values);
    int length = full_after == ULLONG_MAX ? 0 : vsnprintf(NULL, 0, format, copy);
    va_end(copy);
    return length < 0 || fits(stream, length) ? REAL(vfprintf)(stream, format, values) : -1;
}

int fprintf(FILE *stream, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = vfprintf(stream, format, values);
    va_end(values);
    return length;
}

int __vfprintf_chk(FILE *stream, int flag, const char *format, va_list values)
{
    (void)flag;
    return vfprintf(stream, format, values);
}

int __fprintf_chk(FILE *stream, int flag, const char *format, ...)
{
    (void)flag;
    va_list values;
    va_start(values, format);
    int length = vfprintf(stream, format, values);
    va_end(values);
    return length;
}

/* ---- files that are opened for writing, or created ---- */

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT); }

static int has_mode(int flags) { return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE; }

#define MODE_OF(flags)                                 \
    ({                                                 \
        mode_t mode_ = 0;                              \
        if (has_mode(flags)) {                         \
            va_list values_;                           \
            va_start(values_, flags);                  \
            mode_ = (mode_t)va_arg(values_, unsigned); \
            va_end(values_);                           \
        }                                              \
        mode_;                                         \
    })

static int log_open(int opened, int flags, int folder, const char *path)
{
    char buffer[PATH_MAX];
    if (writes(flags)) log_call("open", opened < 0 ? errno : 0, absolute(folder, path, buffer));
    return opened;
}

int open(const char *path, int flags, ...)
{
    mode_t mode = MODE_OF(flags);
    return log_open(REAL(open)(path, flags, mode), flags, AT_FDCWD, path);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = MODE_OF(flags);
    return log_open(REAL(open64)(path, flags, mode), flags, AT_FDCWD, path);
}

int openat(int folder, const char *path, int flags, ...)
{
    mode_t mode = MODE_OF(flags);
    return log_open(REAL(openat)(folder, path, flags, mode), flags, folder, path);
}

int openat64(int folder, const char *path, int flags, ...)
{
    mode_t mode = MODE_OF(flags);
    return log_open(REAL(openat64)(folder, path, flags, mode), flags, folder, path);
}

/* What callers compiled with _FORTIFY_SOURCE use where there is no mode. */
int __open_2(const char *path, int flags) { return open(path, flags); }
int __open64_2(const char *path, int flags) { return open64(path, flags); }
int __openat_2(int folder, const char *path, int flags) { return openat(folder, path, flags); }
int __openat64_2(int folder, const char *path, int flags) { return openat64(folder, path, flags); }

int creat(const char *path, mode_t mode) { return open(path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open64(path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

static FILE *log_stream(FILE *stream, const char *path, const char *mode)
{
    char buffer[PATH_MAX];
    if (strpbrk(mode, "wa+")) log_call("open", stream ? 0 : errno, absolute(AT_FDCWD, path, buffer));
    return stream;
}

FILE *fopen(const char *path, const char *mode) { return log_stream(REAL(fopen)(path, mode), path, mode); }
FILE *fopen64(const char *path, const char *mode) { return log_stream(REAL(fopen64)(path, mode), path, mode); }

FILE *freopen(const char *path, const char *mode, FILE *stream)
{
    return log_stream(REAL(freopen)(path, mode, stream), path, mode);
}

FILE *freopen64(const char *path, const char *mode, FILE *stream)
{
    return log_stream(REAL(freopen64)(path, mode, stream), path, mode);
}

static int log_template(int opened, const char *path)
{
    char buffer[PATH_MAX];
    log_call("open", opened < 0 ? errno : 0, absolute(AT_FDCWD, path, buffer));
    return opened;
}

int mkstemp(char *path) { return log_template(REAL(mkstemp)(path), path); }
int mkstemp64(char *path) { return log_template(REAL(mkstemp64)(path), path); }
int mkostemp(char *path, int flags) { return log_template(REAL(mkostemp)(path, flags), path); }
int mkostemp64(char *path, int flags) { return log_template(REAL(mkostemp64)(path, flags), path); }
int mkstemps(char *path, int length) { return log_template(REAL(mkstemps)(path, length), path); }
int mkstemps64(char *path, int length) { return log_template(REAL(mkstemps64)(path, length), path); }
int mkostemps(char *path, int length, int flags) { return log_template(REAL(mkostemps)(path, length, flags), path); }

int mkostemps64(char *path, int length, int flags)
{
    return log_template(REAL(mkostemps64)(path, length, flags), path);
}

char *mkdtemp(char *path)
{
    char buffer[PATH_MAX];
    return LOGGED("mkdir", REAL(mkdtemp)(path), NULL, absolute(AT_FDCWD, path, buffer));
}

static const char *in_shared_memory(const char *prefix, const char *name, char *path)
{
    snprintf(path, PATH_MAX, "/dev/shm/%s%s", prefix, name[0] == '/' ? name + 1 : name);
    return path;
}

int shm_open(const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    int opened = REAL(shm_open)(name, flags, mode);
    if (writes(flags)) log_call("open", opened < 0 ? errno : 0, in_shared_memory("", name, path));
    return opened;
}

sem_t *sem_open(const char *name, int flags, ...)
{
    char path[PATH_MAX];
    mode_t mode = 0;
    unsigned value = 0;

    if (flags & O_CREAT) {
        va_list values;
        va_start(values, flags);
        mode = (mode_t)va_arg(values, unsigned);
        value = va_arg(values, unsigned);
        va_end(values);
    }
    sem_t *opened = REAL(sem_open)(name, flags, mode, value);
    if (flags & O_CREAT) log_call("open", opened == SEM_FAILED ? errno : 0, in_shared_memory("sem.", name, path));
    return opened;
}

int mkdir(const char *path, mode_t mode)
{
    char buffer[PATH_MAX];
    return LOGGED("mkdir", REAL(mkdir)(path, mode), -1, absolute(AT_FDCWD, path, buffer));
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    char buffer[PATH_MAX];
    return LOGGED("mkdir", REAL(mkdirat)(folder, path, mode), -1, absolute(folder, path, buffer));
}

int mkfifo(const char *path, mode_t mode)
{
    char buffer[PATH_MAX];
    return LOGGED("open", REAL(mkfifo)(path, mode), -1, absolute(AT_FDCWD, path, buffer));
}

int truncate(const char *path, off_t length)
{
    char buffer[PATH_MAX];
    return LOGGED("open", REAL(truncate)(path, length), -1, absolute(AT_FDCWD, path, buffer));
}

int truncate64(const char *path, off64_t length)
{
    char buffer[PATH_MAX];
    return LOGGED("open", REAL(truncate64)(path, length), -1, absolute(AT_FDCWD, path, buffer));
}

/* ---- renames, links, removals, and what makes them last ---- */

#define CHANGE(call, expression, folder, path)                     \
    ({                                                             \
        char buffer_[PATH_MAX];                                    \
        const char *target_ = absolute(folder, path, buffer_);     \
        strike(target_);                                           \
        LOGGED(call, expression, -1, target_);                     \
    })

static int log_rename(int done, int from, const char *old, int to, const char *new)
{
    char buffer[PATH_MAX];
    int error = done ? errno : 0;
    log_call("rename", error, absolute(from, old, buffer));
    log_call("rename-to", error, absolute(to, new, buffer));
    return done;
}

static void strike_rename(int from, const char *old, int to, const char *new)
{
    char old_path[PATH_MAX], new_path[PATH_MAX];
    const char *source = absolute(from, old, old_path);
    settle();
    strike(is_below(source) ? source : absolute(to, new, new_path));
}

int rename(const char *old, const char *new)
{
    strike_rename(AT_FDCWD, old, AT_FDCWD, new);
    return log_rename(REAL(rename)(old, new), AT_FDCWD, old, AT_FDCWD, new);
}

int renameat(int from, const char *old, int to, const char *new)
{
    strike_rename(from, old, to, new);
    return log_rename(REAL(renameat)(from, old, to, new), from, old, to, new);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    strike_rename(from, old, to, new);
    return log_rename(REAL(renameat2)(from, old, to, new, flags), from, old, to, new);
}

int link(const char *old, const char *new) { return CHANGE("link", REAL(link)(old, new), AT_FDCWD, new); }

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    return CHANGE("link", REAL(linkat)(from, old, to, new, flags), to, new);
}

int symlink(const char *target, const char *path)
{
    return CHANGE("link", REAL(symlink)(target, path), AT_FDCWD, path);
}

int symlinkat(const char *target, int folder, const char *path)
{
    return CHANGE("link", REAL(symlinkat)(target, folder, path), folder, path);
}

int unlink(const char *path) { return CHANGE("unlink", REAL(unlink)(path), AT_FDCWD, path); }

int unlinkat(int folder, const char *path, int flags)
{
    return CHANGE("unlink", REAL(unlinkat)(folder, path, flags), folder, path);
}

int rmdir(const char *path) { return CHANGE("unlink", REAL(rmdir)(path), AT_FDCWD, path); }
int remove(const char *path) { return CHANGE("unlink", REAL(remove)(path), AT_FDCWD, path); }

int fsync(int file)
{
    char path[PATH_MAX];
    strike(of_descriptor(file, path));
    return LOGGED("fsync", REAL(fsync)(file), -1, path);
}

int fdatasync(int file)
{
    char path[PATH_MAX];
    strike(of_descriptor(file, path));
    return LOGGED("fsync", REAL(fdatasync)(file), -1, path);
}

/* ---- what would leave the machine ---- */

static const char *host_and_port(const char *host, const char *port, char *text)
{
    snprintf(text, PATH_MAX, "%s:%s", host ? host : "", port ? port : "");
    return text;
}

static int is_internet(const struct sockaddr *address)
{
    return address && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

static const char *peer(const struct sockaddr *address, char *text)
{
    char host[INET6_ADDRSTRLEN] = "", port[8];
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(port, sizeof port, "%u", ntohs(four->sin_port));
    } else {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(port, sizeof port, "%u", ntohs(six->sin6_port));
    }
    return host_and_port(host, port, text);
}

static int refused(const char *call, const struct sockaddr *address)
{
    char text[PATH_MAX];
    log_call(call, ENETUNREACH, peer(address, text));
    errno = ENETUNREACH;
    return -1;
}

int connect(int file, const struct sockaddr *address, socklen_t length)
{
    return is_internet(address) ? refused("connect", address) : REAL(connect)(file, address, length);
}

ssize_t sendto(int file, const void *data, size_t count, int flags, const struct sockaddr *address, socklen_t length)
{
    return is_internet(address) ? refused("send", address) : REAL(sendto)(file, data, count, flags, address, length);
}

ssize_t sendmsg(int file, const struct msghdr *message, int flags)
{
    return is_internet(message->msg_name) ? refused("send", message->msg_name) : REAL(sendmsg)(file, message, flags);
}

int sendmmsg(int file, struct mmsghdr *messages, unsigned number, int flags)
{
    for (unsigned i = 0; i < number; i++)
        if (is_internet(messages[i].msg_hdr.msg_name)) return refused("send", messages[i].msg_hdr.msg_name);
    return REAL(sendmmsg)(file, messages, number, flags);
}

int bind(int file, const struct sockaddr *address, socklen_t length)
{
    char buffer[PATH_MAX];
    int done = REAL(bind)(file, address, length);
    if (address->sa_family == AF_UNIX && ((const struct sockaddr_un *)address)->sun_path[0])
        log_call("open", done ? errno : 0, absolute(AT_FDCWD, ((const struct sockaddr_un *)address)->sun_path, buffer));
    return done;
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
    char text[PATH_MAX];
    (void)hints, (void)found;
    log_call("lookup", ENETUNREACH, host_and_port(host, port, text));
    return EAI_FAIL;
}

int getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_length, char *port,
                socklen_t port_length, int flags)
{
    char text[PATH_MAX];
    if ((flags & NI_NUMERICHOST) || !host || !is_internet(address)) /* no lookup */
        return REAL(getnameinfo)(address, length, host, host_length, port, port_length, flags);
    log_call("lookup", ENETUNREACH, peer(address, text));
    return EAI_FAIL;
}

static void *not_found(const char *host)
{
    log_call("lookup", ENETUNREACH, host);
    h_errno = NO_RECOVERY;
    return NULL;
}

struct hostent *gethostbyname(const char *host) { return not_found(host); }

struct hostent *gethostbyname2(const char *host, int family)
{
    (void)family;
    return not_found(host);
}

int gethostbyname_r(const char *host, struct hostent *entry, char *buffer, size_t length, struct hostent **found,
                    int *error)
{
    (void)entry, (void)buffer, (void)length;
    *found = not_found(host);
    *error = NO_RECOVERY;
    return ENETUNREACH;
}

int gethostbyname2_r(const char *host, int family, struct hostent *entry, char *buffer, size_t length,
                     struct hostent **found, int *error)
{
    (void)family;
    return gethostbyname_r(host, entry, buffer, length, found, error);
}

struct hostent *gethostbyaddr(const void *address, socklen_t length, int family)
{
    char host[INET6_ADDRSTRLEN] = "";
    (void)length;
    return not_found(inet_ntop(family, address, host, sizeof host));
}

int gethostbyaddr_r(const void *address, socklen_t length, int family, struct hostent *entry, char *buffer,
                    size_t buffer_length, struct hostent **found, int *error)
{
    (void)entry, (void)buffer, (void)buffer_length;
    *found = gethostbyaddr(address, length, family);
    *error = NO_RECOVERY;
    return ENETUNREACH;
}
