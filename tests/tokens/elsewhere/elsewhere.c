/* Moves opencryptoki's places under one folder: a library to be preloaded (LD_PRELOAD).
 *
 * opencryptoki has its settings, tokens, locks, socket and shared memory at places of the whole machine, and no setting for
 * them; its group is the machine's too. In a process with this library each such name is one under $ELSEWHERE, and the
 * group "pkcs11" is the one that the process runs as. The module and its daemon are unchanged.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *const PLACES[] = {
    "/etc/opencryptoki", "/var/lib/opencryptoki", "/var/lock/opencryptoki", "/run/lock/opencryptoki",
    "/var/log/opencryptoki", "/var/run/pkcsslotd", "/run/pkcsslotd", "/run/opencryptoki", NULL,
};

static const char *elsewhere(void)
{
    const char *folder = getenv("ELSEWHERE");
    if (folder == NULL) {
        fputs("elsewhere: ELSEWHERE names no folder\n", stderr);
        abort();
    }
    return folder;
}

/* The path, or what it is under our folder. */
static const char *moved(const char *path, char *into, size_t size)
{
    for (const char *const *place = PLACES; path != NULL && *place != NULL; place++) {
        if (strncmp(path, *place, strlen(*place)) == 0) {
            if ((size_t)snprintf(into, size, "%s%s", elsewhere(), path) >= size)
                abort();
            return into;
        }
    }
    return path;
}

#define MOVED(path) moved(path, (char[PATH_MAX]){0}, PATH_MAX)

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | __O_TMPFILE)) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    return REAL(open)(MOVED(path), flags, mode);
}

FILE *fopen(const char *path, const char *mode) { return REAL(fopen)(MOVED(path), mode); }
int stat(const char *path, struct stat *found) { return REAL(stat)(MOVED(path), found); }
int mkdir(const char *path, mode_t mode) { return REAL(mkdir)(MOVED(path), mode); }
int chmod(const char *path, mode_t mode) { return REAL(chmod)(MOVED(path), mode); }
int chown(const char *path, uid_t user, gid_t group) { return REAL(chown)(MOVED(path), user, group); }
int unlink(const char *path) { return REAL(unlink)(MOVED(path)); }

/* Names a segment of System V shared memory. opencryptoki goes by its daemon's program, which all share: ours by
 * the folder too, whose name no other has (FNV-1a). */
key_t ftok(const char *path, int project)
{
    uint32_t hash = 2166136261u ^ (uint8_t)project;
    for (const char *byte = elsewhere(); *byte != '\0'; byte++)
        hash = (hash ^ (uint8_t)*byte) * 16777619u;
    for (const char *byte = path; *byte != '\0'; byte++)
        hash = (hash ^ (uint8_t)*byte) * 16777619u;
    return (key_t)(hash | 1u); /* never IPC_PRIVATE */
}

/* A name of POSIX shared memory: ours ends with the folder's. */
static const char *own(const char *name, char *into, size_t size)
{
    const char *folder = strrchr(elsewhere(), '/');
    if ((size_t)snprintf(into, size, "%s.%s", name, folder + 1) >= size)
        abort();
    return into;
}

int shm_open(const char *name, int flags, mode_t mode)
{
    return REAL(shm_open)(own(name, (char[NAME_MAX]){0}, NAME_MAX), flags, mode);
}

int shm_unlink(const char *name) { return REAL(shm_unlink)(own(name, (char[NAME_MAX]){0}, NAME_MAX)); }

static const struct sockaddr *moved_address(const struct sockaddr *address, struct sockaddr_un *into, socklen_t *size)
{
    if (address->sa_family != AF_UNIX)
        return address;
    into->sun_family = AF_UNIX;
    const char *path = MOVED(((const struct sockaddr_un *)address)->sun_path);
    if (strlen(path) >= sizeof into->sun_path)
        abort();
    strcpy(into->sun_path, path);
    *size = sizeof *into;
    return (const struct sockaddr *)into;
}

int bind(int descriptor, const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_un ours;
    const struct sockaddr *where = moved_address(address, &ours, &size);
    return REAL(bind)(descriptor, where, size);
}

int connect(int descriptor, const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_un ours;
    const struct sockaddr *where = moved_address(address, &ours, &size);
    return REAL(connect)(descriptor, where, size);
}

/* It empties a token's folder with rm. */
int system(const char *command)
{
    static const char place[] = "/var/lib/opencryptoki";
    const char *found = command == NULL ? NULL : strstr(command, place);
    if (found == NULL)
        return REAL(system)(command);
    char ours[2 * PATH_MAX];
    if ((size_t)snprintf(ours, sizeof ours, "%.*s%s%s", (int)(found - command), command, elsewhere(), found) >= sizeof ours)
        abort();
    return REAL(system)(ours);
}

struct group *getgrnam(const char *name)
{
    static char *members[2];
    static struct group group;
    if (strcmp(name, "pkcs11") != 0)
        return REAL(getgrnam)(name);
    struct passwd *user = getpwuid(getuid());
    members[0] = user == NULL ? NULL : user->pw_name;
    group = (struct group){.gr_name = (char *)"pkcs11", .gr_passwd = (char *)"x", .gr_gid = getgid(), .gr_mem = members};
    return &group;
}
