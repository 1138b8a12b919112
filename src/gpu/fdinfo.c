/* SPDX-License-Identifier: MIT */
/*
 * Clients of DRM.
 *
 * Every process, and of it every descriptor that is a DRM device, is read. stat tells other
 * descriptors for much less than reading their fdinfo would cost, and without asking a network
 * file system. What cannot be told so is decided by fdinfo itself.
 *
 * A process that has ended meanwhile is no news; one that may not be looked into means that the
 * sensor does not see everything. hidepid hides even that, so process 1 must be visible.
 */
#include "gpu/fdinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/parse.h"
#include "base/text.h"
#include "gpu/tree.h"

#define FDINFO_SIZE  16384
#define CAPACITY_MAX 1024
#define MEMORY_MAX   ((uint64_t)SAMPLE_MEMORY_MAX << 20)

/* How memory is told, best first: drm-resident-, drm-memory- (its old name), drm-total-. */
enum { RESIDENT, MEMORY, TOTAL, MEMORY_KINDS };

/* One fdinfo. */
struct client {
	char pci[GPU_PCI_SIZE]; /* empty = not told */
	bool has_id, used;
	uint64_t id;
	uint64_t memory[MEMORY_KINDS]; /* bytes of VRAM */
	bool has_memory[MEMORY_KINDS];
	struct fdinfo_engine engines[FDINFO_ENGINES_MAX];
	unsigned n_engines;
};

/* A client that was counted. */
struct seen {
	unsigned gpu;
	uint64_t id;
};

/* What a process has of one GPU. */
struct share {
	bool used, has_memory;
	uint64_t memory; /* bytes */
};

struct scan {
	int root;                     /* borrowed */
	struct sample *sample;        /* borrowed */
	struct fdinfo_usage *usages;  /* borrowed */
	void *seen;                   /* tree of struct seen, see tsearch(3) */
	struct share shares[GPU_MAX]; /* of the process that is read */
};

static struct fdinfo_engine *engine_of(
	struct fdinfo_engine engines[], unsigned *n, const char *name)
{
	struct fdinfo_engine *engine;

	for (unsigned i = 0; i < *n; i++)
		if (strcmp(engines[i].name, name) == 0)
			return &engines[i];
	if (*n == FDINFO_ENGINES_MAX || strlen(name) >= sizeof(engine->name))
		return NULL;
	engine = &engines[(*n)++];
	*engine = (struct fdinfo_engine){ .capacity = 1 };
	text_copy(engine->name, sizeof(engine->name), name);
	return engine;
}

/* "346249 ns", "6044 KiB", "0": the number in ns, cycles, or bytes. */
static int parse_value(char *value, uint64_t *ret)
{
	static const struct {
		const char *unit;
		unsigned shift;
	} units[] = { { "", 0 }, { "ns", 0 }, { "B", 0 }, { "KiB", 10 }, { "MiB", 20 },
		{ "GiB", 30 } };
	char *unit = value + strcspn(value, " \t");
	uint64_t number;
	int r;

	if (*unit)
		*unit++ = '\0';
	unit += strspn(unit, " \t");
	r = parse_uint(value, 0, UINT64_MAX, &number);
	for (size_t i = 0; r >= 0 && i < ELEMENTSOF(units); i++) {
		if (strcmp(unit, units[i].unit) != 0)
			continue;
		if (number > UINT64_MAX >> units[i].shift)
			return -ERANGE;
		*ret = number << units[i].shift;
		return 0;
	}
	return r < 0 ? r : -EINVAL;
}

static void take_memory(struct client *client, int kind, const char *region, uint64_t bytes)
{
	client->used |= bytes > 0;
	/* amdgpu and xe: vram, vram0; i915: local0. All else is memory of the machine. */
	if (bytes > MEMORY_MAX ||
		(strncmp(region, "vram", 4) != 0 && strncmp(region, "local", 5) != 0))
		return;
	client->memory[kind] += bytes;
	client->has_memory[kind] = true;
}

enum key {
	CAPACITY,
	ENGINE,
	CLOCKS,
	CYCLES,
	MEMORY_RESIDENT,
	MEMORY_OLD,
	MEMORY_TOTAL,
};

/* The first that matches counts. */
static const struct {
	const char *prefix;
	enum key key;
} keys[] = {
	{ "drm-engine-capacity-", CAPACITY },
	{ "drm-engine-", ENGINE },
	{ "drm-total-cycles-", CLOCKS },
	{ "drm-cycles-", CYCLES },
	{ "drm-resident-", MEMORY_RESIDENT },
	{ "drm-memory-", MEMORY_OLD },
	{ "drm-total-", MEMORY_TOTAL },
};

static void take_number(struct client *client, enum key key, const char *name, uint64_t value)
{
	struct fdinfo_engine *engine = NULL;

	if (key <= CYCLES) {
		engine = engine_of(client->engines, &client->n_engines, name);
		if (!engine)
			return;
	}
	switch (key) {
	case CAPACITY:
		if (value >= 1 && value <= CAPACITY_MAX)
			engine->capacity = (unsigned)value;
		break;
	case ENGINE:
		engine->busy_ns = value;
		client->used |= value > 0;
		break;
	case CLOCKS:
		engine->clocks = value;
		break;
	case CYCLES:
		engine->cycles = value;
		client->used |= value > 0;
		break;
	case MEMORY_RESIDENT:
		take_memory(client, RESIDENT, name, value);
		break;
	case MEMORY_OLD:
		take_memory(client, MEMORY, name, value);
		break;
	case MEMORY_TOTAL:
		take_memory(client, TOTAL, name, value);
		break;
	}
}

static void take_line(struct client *client, const char *name, char *value)
{
	uint64_t number;

	if (strcmp(name, "drm-pdev") == 0) {
		if (strlen(value) < sizeof(client->pci))
			text_copy(client->pci, sizeof(client->pci), value);
	} else if (strcmp(name, "drm-client-id") == 0) {
		client->has_id = parse_value(value, &client->id) >= 0;
	} else if (parse_value(value, &number) >= 0) {
		for (size_t i = 0; i < ELEMENTSOF(keys); i++)
			if (strncmp(name, keys[i].prefix, strlen(keys[i].prefix)) == 0) {
				take_number(
					client, keys[i].key, name + strlen(keys[i].prefix), number);
				return;
			}
	}
}

static void parse(char *text, struct client *client)
{
	char *line;

	*client = (struct client){ 0 };
	while ((line = strsep(&text, "\n"))) {
		char *value = strchr(line, ':');

		if (!value || strncmp(line, "drm-", 4) != 0)
			continue;
		*value++ = '\0';
		take_line(client, line, value + strspn(value, " \t"));
	}
}

static int compare_seen(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	if (x->gpu != y->gpu)
		return x->gpu < y->gpu ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

/* Returns 1 if the client is new, 0 if it was counted already, -ENOMEM. */
static int remember(struct scan *scan, unsigned gpu, uint64_t id)
{
	struct seen *key = malloc(sizeof(*key)), **node;

	if (!key)
		return -ENOMEM;
	*key = (struct seen){ gpu, id };
	node = tsearch(key, &scan->seen, compare_seen);
	if (node && *node == key)
		return 1;
	free(key);
	return node ? 0 : -ENOMEM;
}

static void count_engines(struct fdinfo_usage *usage, const struct client *client)
{
	for (unsigned i = 0; i < client->n_engines; i++) {
		const struct fdinfo_engine *from = &client->engines[i];
		struct fdinfo_engine *to = engine_of(usage->engines, &usage->n_engines, from->name);

		if (!to)
			continue;
		to->capacity = MAX(to->capacity, from->capacity);
		to->busy_ns += from->busy_ns;
		to->cycles += from->cycles;
		to->clocks = MAX(to->clocks, from->clocks); /* one clock, read in turn */
	}
}

static void count_memory(struct fdinfo_usage *usage, struct share *share, struct client *client)
{
	for (int kind = 0; kind < MEMORY_KINDS; kind++)
		if (client->has_memory[kind]) {
			share->has_memory = usage->has_memory = true;
			share->memory += client->memory[kind];
			usage->memory += client->memory[kind];
			return;
		}
}

static int count(struct scan *scan, struct client *client)
{
	int r;
	unsigned i;

	if (!client->has_id || !client->used)
		return 0;
	for (i = 0; i < scan->sample->n_gpus; i++)
		if (strcasecmp(scan->sample->gpus[i].pci, client->pci) == 0)
			break;
	if (i == scan->sample->n_gpus)
		return 0;
	scan->shares[i].used = true;
	r = remember(scan, i, client->id);
	if (r > 0) {
		count_engines(&scan->usages[i], client);
		count_memory(&scan->usages[i], &scan->shares[i], client);
	} else if (r == 0) {
		scan->shares[i].has_memory = scan->usages[i].has_memory;
	}
	return r;
}

/* Is this descriptor certainly something else than a DRM device? */
static bool is_other(int fds, const char *name)
{
	struct statx info;

	return fds >= 0 && statx(fds, name, AT_STATX_DONT_SYNC, STATX_TYPE, &info) == 0 &&
	       (!S_ISCHR(info.stx_mode) || info.stx_rdev_major != DRM_MAJOR);
}

static bool is_refusal(int r)
{
	return r == -EACCES || r == -EPERM;
}

/* What the process has into scan->shares. */
static int read_process(struct scan *scan, int process)
{
	_cleanup_(freep) uint64_t *numbers = NULL;
	_cleanup_(closep) int fds = tree_open_dir(process, "fd"),
			      fdinfo = tree_open_dir(process, "fdinfo");
	int n = tree_list(process, "fdinfo", "", &numbers), r = 0;

	if (n < 0)
		return is_refusal(n) ? -EACCES : n == -ENOMEM ? n : 0;
	for (int i = 0; i < n && r >= 0; i++) {
		char name[TREE_PATH_SIZE], text[FDINFO_SIZE];
		struct client client;

		tree_path(name, "%u", (unsigned)numbers[i]);
		if (is_other(fds, name))
			continue;
		r = (int)read_file_at(fdinfo, name, text, sizeof(text));
		if (r < 0) {
			r = is_refusal(r) ? -EACCES : 0;
			continue;
		}
		parse(text, &client);
		r = count(scan, &client);
	}
	return r;
}

static int add_processes(struct scan *scan, uint64_t pid)
{
	for (unsigned i = 0; i < scan->sample->n_gpus; i++) {
		const struct share *share = &scan->shares[i];

		if (share->used && sample_add_process(&scan->sample->gpus[i], (pid_t)pid,
					   share->has_memory ? (int64_t)(share->memory >> 20)
							     : GPU_UNKNOWN) == -ENOMEM)
			return -ENOMEM;
	}
	return 0;
}

static int read_processes(struct scan *scan)
{
	_cleanup_(freep) uint64_t *pids = NULL;
	int n = tree_list(scan->root, "proc", "", &pids), r = 0;

	if (n == -ENOMEM)
		return n;
	if (n < 1 || pids[0] != 1)
		return -EACCES;
	for (int i = 0; i < n && r >= 0; i++) {
		_cleanup_(closep) int process = -1;
		char path[TREE_PATH_SIZE];

		tree_path(path, "proc/%u", (unsigned)pids[i]);
		process = tree_open_dir(scan->root, path);
		if (process < 0) {
			r = is_refusal(process) ? -EACCES : 0;
			continue;
		}
		memset(scan->shares, 0, sizeof(scan->shares));
		r = read_process(scan, process);
		if (r >= 0)
			r = add_processes(scan, pids[i]);
	}
	return r;
}

static void forget_processes(struct sample *sample)
{
	for (unsigned i = 0; i < sample->n_gpus; i++) {
		sample->gpus[i].n_processes = 0;
		free(TAKE_PTR(sample->gpus[i].processes));
		sample->gpus[i].processes_unknown = true;
	}
}

int fdinfo_read(int root, struct sample *sample, struct fdinfo_usage usages[])
{
	struct scan scan = { .root = root, .sample = sample, .usages = usages };
	int r = read_processes(&scan);

	tdestroy(scan.seen, free);
	if (r == -EACCES)
		forget_processes(sample);
	return r == -EACCES ? 0 : r < 0 ? r : 1;
}
