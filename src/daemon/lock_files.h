/* SPDX-License-Identifier: MIT */
/*
 * The bridge to those who still lock GPUs with the Python package gpu_lock ([gpu-lock] directory):
 * what is leased is a lock file there, and what they lock is a hold of theirs here, for as long as
 * their file is there and their process lives.
 */
#pragma once

#include "daemon/manager.h"

struct lock_files;

/* After the GPUs are known, before the first lease starts. Without a setting, or a directory that
 * can be had, there is no bridge: what it had held ends. */
void lock_files_start(struct manager *m);
struct lock_files *lock_files_free(struct lock_files *files);

/* Before these GPUs become those of lease (NULL: of nobody in particular): locks them for all
 * others. False: somebody had locked one of them; it is theirs now. What is locked and not leased
 * in the end is given back by lock_files_apply. */
bool lock_files_claim(struct manager *m, const struct lease *lease, const struct gpu_set *gpus);

/* Makes the directory agree with the pool. Idempotent. */
void lock_files_apply(struct manager *m);

/* After a sample: GPUs may have come, or got other numbers; the directory may be another one. */
void lock_files_follow(struct manager *m);

/* Looks at all files: what was seen before may not have been stored. */
void lock_files_look(struct manager *m);
