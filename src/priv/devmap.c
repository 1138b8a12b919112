/* SPDX-License-Identifier: MIT */
/*
 * A sorted copy of the map is kept, so that a change is found by walking along both. It is read
 * from the kernel when it is not known: at first, and after a change that failed halfway.
 *
 * Entries change one by one, in an order in which no state in between gives anybody what neither
 * the old nor the new ones give: see change(). An open() that is being judged meanwhile may see
 * some entries before and some after the change; at worst the user who is given a device opens it
 * in a cgroup that is being closed at that moment. Old and new together fit into the map.
 */
#include "priv/devmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/macro.h"
#include "priv/bpf.h"

/* What people see in bpftool(8). A map of the same shape whose entries mean something else needs
 * another number. */
#define MAP_NAME    "dibs_devices_1"
#define MAP_ENTRIES (2 * DEVFILTER_ENTRIES_MAX)

int devmap_create(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = sizeof(struct devkey);
	attr.value_size = sizeof(uint64_t);
	attr.max_entries = MAP_ENTRIES;
	/* Preallocated elements are used again while programs may still compare their keys. */
	attr.map_flags = BPF_F_NO_PREALLOC;
	memcpy(attr.map_name, MAP_NAME, sizeof(MAP_NAME));
	return bpf_call(BPF_MAP_CREATE, &attr);
}

bool devmap_is_ours(int fd)
{
	struct bpf_map_info info = { 0 };

	return bpf_get_info(fd, &info, sizeof(info)) == 0 && info.type == BPF_MAP_TYPE_HASH &&
	       info.key_size == sizeof(struct devkey) && info.value_size == sizeof(uint64_t) &&
	       info.max_entries == MAP_ENTRIES && info.map_flags == BPF_F_NO_PREALLOC &&
	       strncmp(info.name, MAP_NAME, sizeof(info.name)) == 0;
}

static struct devkey key_of(const struct devfilter_entry *entry)
{
	bool device = entry->kind == DEVFILTER_GUARDED || entry->kind == DEVFILTER_UID ||
		      entry->kind == DEVFILTER_CGROUP;

	return (struct devkey){ .who = entry->kind == DEVFILTER_GUARDED ? 0 : entry->who,
		.kind = entry->kind,
		.major = device ? entry->major : 0,
		.minor = device ? entry->minor : 0 };
}

/* Any order will do. */
static int compare(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct devkey));
}

/* Returns how many are left. */
static size_t sort(struct devkey *keys, size_t n)
{
	size_t kept = 0;

	qsort(keys, n, sizeof(*keys), compare);
	for (size_t i = 0; i < n; i++)
		if (kept == 0 || compare(&keys[kept - 1], &keys[i]) != 0)
			keys[kept++] = keys[i];
	return kept;
}

static int change_one(const struct devmap *map, enum bpf_cmd command, const struct devkey *key)
{
	static const uint64_t value = 1;
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map->fd;
	attr.key = bpf_address(key);
	if (command == BPF_MAP_UPDATE_ELEM)
		attr.value = bpf_address(&value);
	return bpf_call(command, &attr);
}

static int read_map(struct devmap *map)
{
	_cleanup_(freep) struct devkey *keys = calloc(MAP_ENTRIES, sizeof(*keys));
	union bpf_attr attr;
	size_t n = 0;
	int r;

	if (!keys)
		return -ENOMEM;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map->fd;
	do {
		attr.key = n == 0 ? 0 : bpf_address(&keys[n - 1]);
		attr.next_key = bpf_address(&keys[n]);
		r = bpf_call(BPF_MAP_GET_NEXT_KEY, &attr);
	} while (r == 0 && ++n < MAP_ENTRIES);
	if (r < 0 && r != -ENOENT)
		return r;
	free(map->keys);
	map->n_keys = sort(keys, n);
	map->keys = TAKE_PTR(keys);
	map->known = true;
	return 0;
}

enum { GRANTS = 1, CLOSURES = 2, GUARDS = 4 };

/* What is unknown gives nothing, and goes. */
static unsigned class_of(const struct devkey *key)
{
	if (key->kind == DEVFILTER_GUARDED)
		return GUARDS;
	return key->kind == DEVFILTER_CLOSED || key->kind == DEVFILTER_CLOSED_ROOT ? CLOSURES
										   : GRANTS;
}

/* Gives the map the command for every key of these classes that is in a and not in b. */
static int change_difference(struct devmap *map, enum bpf_cmd command, unsigned classes,
	const struct devkey *a, size_t n_a, const struct devkey *b, size_t n_b)
{
	for (size_t i = 0, j = 0; i < n_a; i++) {
		int r;

		while (j < n_b && compare(&b[j], &a[i]) < 0)
			j++;
		if ((j < n_b && compare(&b[j], &a[i]) == 0) || !(classes & class_of(&a[i])))
			continue;
		r = change_one(map, command, &a[i]);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return 0;
}

static int take_away(struct devmap *map, unsigned classes, const struct devkey *keys, size_t n)
{
	return change_difference(
		map, BPF_MAP_DELETE_ELEM, classes, map->keys, map->n_keys, keys, n);
}

static int give(struct devmap *map, unsigned classes, const struct devkey *keys, size_t n)
{
	return change_difference(
		map, BPF_MAP_UPDATE_ELEM, classes, keys, n, map->keys, map->n_keys);
}

/* A device is guarded only while those who may open it are in the map; and what narrows a right is
 * there as long as the right is. */
static int change(struct devmap *map, const struct devkey *keys, size_t n)
{
	int r;

	if (n > DEVFILTER_ENTRIES_MAX) {
		r = take_away(map, GRANTS, keys, n);
		return r < 0 ? r : -E2BIG;
	}
	r = take_away(map, GUARDS, keys, n);
	if (r == 0)
		r = take_away(map, GRANTS, keys, n);
	if (r == 0)
		r = give(map, CLOSURES, keys, n);
	if (r == 0)
		r = give(map, GRANTS, keys, n);
	if (r == 0)
		r = give(map, GUARDS, keys, n);
	if (r == 0)
		r = take_away(map, CLOSURES, keys, n);
	return r;
}

int devmap_set(struct devmap *map, const struct devfilter_entry *entries, size_t n)
{
	_cleanup_(freep) struct devkey *keys = calloc(n + 1, sizeof(*keys));
	int r;

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		keys[i] = key_of(&entries[i]);
	n = sort(keys, n);
	r = map->known ? 0 : read_map(map);
	map->known = false; /* until it has gone well */
	if (r == 0)
		r = change(map, keys, n);
	if (r < 0)
		return r;
	free(map->keys);
	map->keys = TAKE_PTR(keys);
	map->n_keys = n;
	map->known = true;
	return 0;
}

void devmap_release(struct devmap *map)
{
	closep(&map->fd);
	free(map->keys);
}
