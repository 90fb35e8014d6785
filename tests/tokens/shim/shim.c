/* A PKCS#11 module that stands before another one: forwards every call, writes it down, and is slow, broken
 * or gone where a file says so. For tests alone.
 *
 *   SHIM_TARGET   the module behind it
 *   SHIM_DIR      folder of the rules; `calls` is written here
 *
 * A rule is a file FUNCTION.ACTION, for example C_Sign.delay, that holds "VALUE TIMES": a number in C's
 * notation, and for how many more calls, in all processes together, the rule counts (-1: for all). It is read
 * before each call. A rule C_Sign-1041.ACTION counts for the signatures of that mechanism alone (CKM_ECDSA).
 *
 *   delay    the call takes VALUE ms more; one call at a time, as a token has one processor
 *   hang     the call never returns
 *   fail     the call answers VALUE, a CK_RV, and does not reach the module
 *   late     the call reaches the module, and answers VALUE all the same
 *   drop     the session is lost: CKR_SESSION_HANDLE_INVALID, for this call and every later one of the process
 *   crash    the process aborts
 *   garble   C_Sign and C_GenerateRandom succeed and give zeroes
 *   flags    C_GetTokenInfo: VALUE is or-ed into the token's flags
 *
 * A file `gone` pulls the device: there are no tokens, and calls on a session answer CKR_DEVICE_REMOVED, also
 * when it is back, until the process has finalized.
 *
 * `calls` gets a line when a call begins and one when it ends, by CLOCK_MONOTONIC in seconds:
 *   > TIME PID FUNCTION
 *   < TIME PID FUNCTION 0xRV
 *
 * Every function of PKCS #11 2.40 takes at most eight arguments, each a pointer or an integer. They are handed
 * on as eight words: where a function takes fewer, the rest is what happened to be there, and nobody reads it.
 * That holds for the calling conventions of x86-64 and AArch64, which is where the tests run.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long word;
typedef word (*function)(word, word, word, word, word, word, word, word);

#define CKR_OK 0x00UL
#define CKR_GENERAL_ERROR 0x05UL
#define CKR_DEVICE_REMOVED 0x32UL
#define CKR_SESSION_HANDLE_INVALID 0xB3UL
#define CKR_TOKEN_NOT_PRESENT 0xE0UL

/* In the order of CK_FUNCTION_LIST (PKCS #11 2.40 §3.6). */
#define FUNCTIONS(X) \
    X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetFunctionList) X(C_GetSlotList) X(C_GetSlotInfo) \
    X(C_GetTokenInfo) X(C_GetMechanismList) X(C_GetMechanismInfo) X(C_InitToken) X(C_InitPIN) X(C_SetPIN) \
    X(C_OpenSession) X(C_CloseSession) X(C_CloseAllSessions) X(C_GetSessionInfo) X(C_GetOperationState) \
    X(C_SetOperationState) X(C_Login) X(C_Logout) X(C_CreateObject) X(C_CopyObject) X(C_DestroyObject) \
    X(C_GetObjectSize) X(C_GetAttributeValue) X(C_SetAttributeValue) X(C_FindObjectsInit) X(C_FindObjects) \
    X(C_FindObjectsFinal) X(C_EncryptInit) X(C_Encrypt) X(C_EncryptUpdate) X(C_EncryptFinal) X(C_DecryptInit) \
    X(C_Decrypt) X(C_DecryptUpdate) X(C_DecryptFinal) X(C_DigestInit) X(C_Digest) X(C_DigestUpdate) \
    X(C_DigestKey) X(C_DigestFinal) X(C_SignInit) X(C_Sign) X(C_SignUpdate) X(C_SignFinal) \
    X(C_SignRecoverInit) X(C_SignRecover) X(C_VerifyInit) X(C_Verify) X(C_VerifyUpdate) X(C_VerifyFinal) \
    X(C_VerifyRecoverInit) X(C_VerifyRecover) X(C_DigestEncryptUpdate) X(C_DecryptDigestUpdate) \
    X(C_SignEncryptUpdate) X(C_DecryptVerifyUpdate) X(C_GenerateKey) X(C_GenerateKeyPair) X(C_WrapKey) \
    X(C_UnwrapKey) X(C_DeriveKey) X(C_SeedRandom) X(C_GenerateRandom) X(C_GetFunctionStatus) \
    X(C_CancelFunction) X(C_WaitForSlotEvent)

#define NUMBER(name) at_##name,
enum { FUNCTIONS(NUMBER) COUNT };
#define NAME(name) #name,
static const char *const names[COUNT] = {FUNCTIONS(NAME)};

struct list {
    unsigned char major, minor;
    function call[COUNT];
};

enum { TOKEN_FLAGS_OFFSET = 96 }; /* CK_TOKEN_INFO: label 32, manufacturer 32, model 16, serial number 16 */

static struct list ours, *target;
static int lost;
static word mechanism; /* of the signature that was begun last */

static const char *path(const char *name, const char *action) {
    static char text[1024];
    const char *folder = getenv("SHIM_DIR");
    snprintf(text, sizeof text, "%s/%s%s%s", folder ? folder : ".", name, *action ? "." : "", action);
    return text;
}

static void note(const char *begins, int number, const char *result) {
    char line[160];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "%s %lld.%06ld %d %s%s\n", begins, (long long)now.tv_sec,
                          now.tv_nsec / 1000, (int)getpid(), names[number], result);
    int file = open(path("calls", ""), O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (file < 0 || write(file, line, length) != length) abort(); /* a test must not count too few */
    close(file);
}

static int lock(const char *name) {
    int file = open(path(name, ""), O_RDWR | O_CREAT, 0600);
    if (file < 0 || flock(file, LOCK_EX)) abort();
    return file;
}

static int rule_of(const char *name, const char *action, word *value) {
    if (access(path(name, action), F_OK)) return 0;
    int locked = lock("lock"), counts = 0;
    long times = 0;
    FILE *file = fopen(path(name, action), "r+");
    if (file) {
        char text[64] = "";
        if (fscanf(file, "%63s %ld", text, &times) == 2 && times) {
            *value = strtoul(text, NULL, 0);
            counts = 1;
            if (times > 0) {
                rewind(file);
                fprintf(file, "%s %ld \n", text, times - 1);
            }
        }
        fclose(file);
    }
    close(locked);
    return counts;
}

/* Whether such a rule counts for this call; it is used up by that. */
static int rule(int number, const char *action, word *value) {
    char name[64];
    snprintf(name, sizeof name, "%s-%lx", names[number], mechanism);
    return (number == at_C_Sign && rule_of(name, action, value)) || rule_of(names[number], action, value);
}

static void wait_ms(word ms) {
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000L};
    while (nanosleep(&left, &left)) {}
}

/* What a device that was pulled answers; CKR_OK where the call goes on. */
static word pulled(int number, word *a) {
    switch (number) {
    case at_C_Initialize: case at_C_Finalize: case at_C_GetInfo: case at_C_GetSlotInfo:
        return CKR_OK;
    case at_C_GetSlotList:
        *(word *)a[2] = 0;
        return CKR_TOKEN_NOT_PRESENT; /* told apart by `call`: an empty list is no error */
    case at_C_GetTokenInfo: case at_C_OpenSession: case at_C_GetMechanismList: case at_C_GetMechanismInfo:
        return CKR_TOKEN_NOT_PRESENT;
    default:
        lost = 1;
        return CKR_DEVICE_REMOVED;
    }
}

static word forward(int number, word *a) {
    return target->call[number](a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]);
}

static word ruled(int number, word *a) {
    word value, rv;
    int device = -1;
    if (rule(number, "delay", &value)) {
        device = lock("device");
        wait_ms(value);
    }
    if (rule(number, "hang", &value)) for (;;) pause();
    if (rule(number, "crash", &value)) abort();
    if (rule(number, "drop", &value)) lost = 1;
    if (!access(path("gone", ""), F_OK) && (rv = pulled(number, a)) != CKR_OK)
        rv = number == at_C_GetSlotList ? CKR_OK : rv;
    else if (lost && number >= at_C_CloseSession)
        rv = CKR_SESSION_HANDLE_INVALID;
    else if (!rule(number, "fail", &rv)) {
        rv = forward(number, a);
        if (rule(number, "late", &value)) rv = value;
    }
    if (device >= 0) close(device);
    return rv;
}

static void damage(int number, word *a) {
    word value;
    if (number == at_C_Sign && rule(number, "garble", &value)) memset((void *)a[3], 0, *(word *)a[4]);
    if (number == at_C_GenerateRandom && rule(number, "garble", &value)) memset((void *)a[1], 0, a[2]);
    if (number == at_C_GetTokenInfo && rule(number, "flags", &value))
        *(word *)((char *)a[1] + TOKEN_FLAGS_OFFSET) |= value;
}

static word call(int number, word *a) {
    char result[32];
    if (number == at_C_Sign && !a[3]) return forward(number, a); /* asks for the length alone */
    if (number == at_C_SignInit) mechanism = *(word *)a[1];
    note(">", number, "");
    word rv = ruled(number, a);
    if (rv == CKR_OK) damage(number, a);
    if (number == at_C_Finalize) lost = 0;
    snprintf(result, sizeof result, " 0x%lx", rv);
    note("<", number, result);
    return rv;
}

#define WRAPPER(name) \
    static word ours_##name(word a, word b, word c, word d, word e, word f, word g, word h) { \
        word all[] = {a, b, c, d, e, f, g, h}; \
        return call(at_##name, all); \
    }
FUNCTIONS(WRAPPER)

#define ENTRY(name) ours_##name,
static const function wrappers[COUNT] = {FUNCTIONS(ENTRY)};

word C_GetFunctionList(struct list **list) {
    if (!target) {
        const char *module = getenv("SHIM_TARGET");
        void *library = module ? dlopen(module, RTLD_NOW | RTLD_LOCAL) : NULL;
        word (*get)(struct list **) = library ? (word(*)(struct list **))dlsym(library, "C_GetFunctionList") : NULL;
        if (!get || get(&target) != CKR_OK) {
            fprintf(stderr, "shim: no module at SHIM_TARGET=%s\n", module ? module : "");
            target = NULL;
            return CKR_GENERAL_ERROR;
        }
        ours.major = target->major;
        ours.minor = target->minor;
        memcpy(ours.call, wrappers, sizeof wrappers);
        ours.call[at_C_GetFunctionList] = (function)(void *)C_GetFunctionList;
    }
    *list = &ours;
    return CKR_OK;
}
