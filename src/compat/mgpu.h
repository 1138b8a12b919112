/* SPDX-License-Identifier: MIT */
/*
 * What mgpu_srun, mgpu_queue and mgpu_cancel have in common with the socket of
 * mgpu_scheduler_server: jobs and leases as Multi-GPU Scheduler has them.
 *
 * Its ids have eight characters; ours are the number of the lease, with zeros: "00000042".
 */
#pragma once

#include <jansson.h>

#include "cli/cli.h"
#include "cli/log_file.h"
#include "cli/script.h"

#define MGPU_ID_SIZE 24
void mgpu_id(char dst[MGPU_ID_SIZE], int64_t lease);

/* Also without zeros, or with "#" in front. -EINVAL with a sentence. */
int mgpu_parse_id(const char *text, int64_t *ret, struct error *err);

/* client_call(), with people in its sentences by their names. */
enum client_exit mgpu_call(
	struct cli *cli, const char *method, json_t *parameters, json_t **ret, struct error *err);

/* As it is asked for. All texts are borrowed. */
struct mgpu_job {
	const char *gpus;    /* how many; NULL: as many as gpu_ids has */
	const char *gpu_ids; /* "0,1"; NULL: any */
	int64_t mem_mib;     /* of each GPU; 0 = it has them alone */
	int64_t limit_sec;   /* 0 = none. Over, it goes to the end of the queue, to start anew. */
	int64_t priority;    /* the higher, the earlier */
	const char *setup;   /* a line for a login shell; NULL: the venv of the home directory */
	bool distributed;    /* gets what one machine of torch.distributed has to know */
	char **words;        /* the command; one alone is a line for a shell */
	int n_words;
	/* It came through the socket: neither environment nor limits of this process are its own,
	 * and it gets those of a login. */
	bool remote;
};

/*
 * Hands it in. *ret_lease is owned by the caller; notes gets sentences for people. Else an exit
 * code with a sentence. A priority over 0 is an administrator's to give: for others it is 0, and a
 * note says so. mem_mib is a share where the site allows shares; else at least that is what its
 * GPUs have.
 */
enum client_exit mgpu_submit(struct cli *cli, const struct mgpu_job *job, json_t **ret_lease,
	struct strings *notes, struct error *err);

/*
 * What runs and what waits, in the order of the queue: arrays of {id, user, gpus, mem, cmd, status,
 * gpu_ids, env_setup_cmd}, owned by the caller. mem is null for who has whole GPUs. Else an exit
 * code with a sentence.
 */
enum client_exit mgpu_list(
	struct cli *cli, json_t **ret_running, json_t **ret_queue, struct error *err);

/* Takes it out of the queue, or tells it to end. */
enum client_exit mgpu_end(struct cli *cli, int64_t lease, struct error *err);

/*
 * Prints what a job prints until it has ended. Returns what a shell makes of its end (cli/job.h),
 * or -EPIPE: nobody reads it any more. What went wrong is said on standard error.
 */
int mgpu_follow(struct cli *cli, int64_t lease, const struct log_sink *out);

/* Of a face: says "PROGRAM: ..." on standard error, as complain() does. */
void mgpu_say(const char *program, const char *fmt, ...) _printf_(2, 3);

/* Says once that variables of its versions for several machines mean nothing here. */
void mgpu_say_unused(const char *program);

/* The programs. */
int mgpu_srun(int argc, char **argv);
int mgpu_queue(int argc, char **argv);
int mgpu_cancel(int argc, char **argv);
