/* SPDX-License-Identifier: MIT */
/* What the command line can do. */
#include <limits.h>

#include "cli/cli.h"

#define REQUEST                                                                               \
	(OPT_BIT(OPT_GPUS) | OPT_BIT(OPT_GPU) | OPT_BIT(OPT_TYPE) | OPT_BIT(OPT_MIN_MEMORY) | \
		OPT_BIT(OPT_WAIT) | OPT_BIT(OPT_NO_WAIT) | OPT_BIT(OPT_NOTE))

#define JOB                                                                                       \
	(OPT_BIT(OPT_GPUS) | OPT_BIT(OPT_GPU) | OPT_BIT(OPT_TYPE) | OPT_BIT(OPT_MIN_MEMORY) |     \
		OPT_BIT(OPT_NOTE) | OPT_BIT(OPT_TIME) | OPT_BIT(OPT_NAME) | OPT_BIT(OPT_OUTPUT) | \
		OPT_BIT(OPT_ERROR) | OPT_BIT(OPT_CHDIR) | OPT_BIT(OPT_ENV_SETUP) |                \
		OPT_BIT(OPT_VENV) | OPT_BIT(OPT_NO_VENV) | OPT_BIT(OPT_ENV) |                     \
		OPT_BIT(OPT_NO_ENV) | OPT_BIT(OPT_AFTER) | OPT_BIT(OPT_ARRAY) |                   \
		OPT_BIT(OPT_BEGIN) | OPT_BIT(OPT_HELD) | OPT_BIT(OPT_RETRIES) |                   \
		OPT_BIT(OPT_ON_LIMIT) | OPT_BIT(OPT_GRACE) | OPT_BIT(OPT_WARN_SIGNAL) |           \
		OPT_BIT(OPT_NICE) | OPT_BIT(OPT_MEM) | OPT_BIT(OPT_EXCLUSIVE))

static const struct verb admin_verbs[] = {
	{ "drain", "GPU --reason TEXT", "Hand out this GPU no more",
		"Its present lease goes on. GPU is an index or a UUID.", OPT_BIT(OPT_REASON), 1, 1,
		.run = verb_admin_drain },
	{ "undrain", "GPU", "Hand out this GPU again", .min_words = 1, .max_words = 1,
		.run = verb_admin_undrain },
	{ "release", "ID --reason TEXT", "Take back anybody's lease",
		"The processes of a run get TERM and, after the grace of this site, KILL.",
		OPT_BIT(OPT_REASON), 1, 1, .run = verb_admin_release },
	{ "guard", "[off|watch|deny|configured]", "Say or set how GPUs are guarded",
		"off: not at all; watch: who uses a GPU without a lease is told of; deny: the\n"
		"kernel keeps everybody off but those who have a lease. It stays so after a\n"
		"restart; configured goes back to what dibs.conf says. Without a word: the mode\n"
		"and what is wrong with it.",
		.max_words = 1, .run = verb_admin_guard },
	{ "sensor", "pause|resume", "Let go of the driver, or take it again",
		"While the sensor is paused nothing of dibs holds the driver, so that a GPU can "
		"be\n"
		"reset; no lease starts until it is resumed.",
		.min_words = 1, .max_words = 1, .run = verb_admin_sensor },
	{ "import", "canhazgpu --redis HOST:PORT | gpulocker FILE",
		"Take over what another tool left behind",
		"canhazgpu: its reservations become holds, and its history is that of dibs, too; "
		"in\n"
		"Redis nothing is changed. May be repeated: what was imported is known. gpulocker: "
		"its\n"
		".env is printed as a dibs.conf; nothing else is done.",
		OPT_BIT(OPT_REDIS) | OPT_BIT(OPT_DB) | OPT_BIT(OPT_DRY_RUN), 1, 2,
		.run = verb_admin_import },
	{ 0 },
};

const struct verb verbs[] = {
	{ "status", "", "Show the GPUs, who has them and who waits",
		"This is also what 'dibs' alone does.", OPT_BIT(OPT_JSON) | OPT_BIT(OPT_WATCH),
		.run = verb_status },
	{ "run", "[--] COMMAND...", "Wait for GPUs, run a command on them, give them back",
		"The command becomes this very process; the GPUs are free again when the last of "
		"its\n"
		"processes is gone. It finds them in CUDA_VISIBLE_DEVICES, NVIDIA_VISIBLE_DEVICES\n"
		"(ROCR_VISIBLE_DEVICES on AMD) and DIBS_GPUS, its lease in DIBS_LEASE.",
		REQUEST | OPT_BIT(OPT_TIME) | OPT_BIT(OPT_VISIBLE), 1, INT_MAX, true, verb_run },
	{ "reserve", "", "Hold GPUs for a time",
		"Prints the hold and a line that makes programs of this shell use its GPUs.\n"
		"--adopt is for what runs already: it takes several PIDs, as in\n"
		"--adopt $(pgrep -u $USER python).",
		REQUEST | OPT_BIT(OPT_FORCE) | OPT_BIT(OPT_DURATION) | OPT_BIT(OPT_SHORT) |
			OPT_BIT(OPT_JSON) | OPT_BIT(OPT_ADOPT),
		.max_words = INT_MAX, .run = verb_reserve },
	{ "submit", "-- COMMAND... | SCRIPT [ARGUMENT...]", "Queue a job, and go home",
		"It starts as you, here, with this environment, when its turn comes. A script may\n"
		"have its options in lines as '#DIBS -g 2 -t 4h' before its first command; "
		"#SBATCH\n"
		"lines are read, too. In names of files %j is the number of the job, %a the index\n"
		"and %A the number of its array, %x its name, %u you, %h this host; %4a is 0007.",
		JOB | OPT_BIT(OPT_WAIT_FOR) | OPT_BIT(OPT_JSON), 1, INT_MAX, true, verb_submit },
	{ "logs", "ID", "Show what a job printed", NULL, OPT_BIT(OPT_FOLLOW) | OPT_BIT(OPT_TAIL), 1,
		1, .run = verb_logs },
	{ "cancel", "ID...", "Take jobs out of the queue, or end them",
		"42.7 is an element of the array 42, which means all of them. Other leases are\n"
		"ended, too.",
		OPT_BIT(OPT_SIGNAL), 1, INT_MAX, .run = verb_cancel },
	{ "hold", "ID...", "Keep waiting jobs from starting", NULL, 0, 1, INT_MAX,
		.run = verb_hold },
	{ "resume", "ID...", "Let held or suspended jobs go on", NULL, 0, 1, INT_MAX,
		.run = verb_resume },
	{ "requeue", "ID...", "End running jobs, and queue them anew", NULL, 0, 1, INT_MAX,
		.run = verb_requeue },
	{ "suspend", "ID...", "Freeze running jobs, and free their GPUs", NULL, 0, 1, INT_MAX,
		.run = verb_suspend },
	{ "wait", "ID...", "Wait for jobs to end, and take their exit status", NULL,
		OPT_BIT(OPT_JSON), 1, INT_MAX, .run = verb_wait },
	{ "exec", "ID [--] COMMAND...", "Run a command inside of a lease of yours",
		"It ends with the lease. For a debugger, nvidia-smi, a second shell.",
		OPT_BIT(OPT_VISIBLE), 2, INT_MAX, true, verb_exec },
	{ "extend", "ID DURATION", "Keep a hold, or let a run go on, for longer",
		"The time is added to what is left.", .min_words = 2, .max_words = 2,
		.run = verb_extend },
	{ "release", "[ID...]", "Give GPUs back, or leave the queue",
		"Without an ID, --gpu or --all: all holds of yours.",
		OPT_BIT(OPT_RELEASE_GPU) | OPT_BIT(OPT_ALL), 0, INT_MAX, .run = verb_release },
	{ "shrink", "ID --gpu LIST", "Give some GPUs of a lease back, and keep the others",
		"Refused while processes of the lease use them.", OPT_BIT(OPT_SHRINK_GPU), 1, 1,
		.run = verb_shrink },
	{ "give", "ID USER", "Hand a hold to a colleague", .min_words = 2, .max_words = 2,
		.run = verb_give },
	{ "gpus", "[ID]", "Show the GPUs of a lease of yours, also for scripts",
		"Without an ID: the lease of $DIBS_LEASE, or the only one that you have.\n"
		"For containers: docker run $(dibs gpus --docker) IMAGE.",
		OPT_BIT(OPT_JSON) | OPT_BIT(OPT_UUID) | OPT_BIT(OPT_INDEX) | OPT_BIT(OPT_DOCKER) |
			OPT_BIT(OPT_CDI),
		.max_words = 1, .run = verb_gpus },
	{ "list", "", "List your leases", NULL, OPT_BIT(OPT_JSON) | OPT_BIT(OPT_EVERYBODY),
		.run = verb_list },
	{ "queue", "", "List who waits, in order", NULL, OPT_BIT(OPT_JSON), .run = verb_queue },
	{ "show", "ID", "Show one lease and its journal", NULL, OPT_BIT(OPT_JSON), 1, 1,
		.run = verb_show },
	{ "history", "", "List leases that have ended, newest first", NULL,
		OPT_BIT(OPT_SINCE) | OPT_BIT(OPT_USER) | OPT_BIT(OPT_EVERYBODY) |
			OPT_BIT(OPT_LIMIT) | OPT_BIT(OPT_JSON),
		.run = verb_history },
	{ "report", "", "Sum up who held how much, used it, and waited", NULL,
		OPT_BIT(OPT_DAYS) | OPT_BIT(OPT_SINCE) | OPT_BIT(OPT_UNTIL) | OPT_BIT(OPT_BY) |
			OPT_BIT(OPT_CSV) | OPT_BIT(OPT_JSON),
		.run = verb_report },
	{ "admin", "COMMAND", "For administrators: guard, drain, release, sensor, import",
		.verbs = admin_verbs },
	{ "doctor", "", "Say what is wrong on this host, and what mends it", NULL,
		OPT_BIT(OPT_JSON), .run = verb_doctor },
	{ "selftest", "[CGROUP]", "Prove on this machine that the guard keeps others off",
		"For root. Tries it with GPUs, users and a dibsd of its own, which are gone again\n"
		"at the end; and, if dibsd runs and guards, for some seconds with a GPU that is\n"
		"free. CGROUP is "
		"one of session-cgroups, unless user.slice is.",
		OPT_BIT(OPT_JSON), .max_words = 1, .run = verb_selftest },
	{ 0 },
};
