/* SPDX-License-Identifier: MIT */
/* mgpu_scheduler_server: the socket of Multi-GPU Scheduler, for programs that speak to it. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/parse.h"
#include "config/config.h"
#include "dibs-config.h"
#include "mgpu/server.h"

#define SOCKET_PATH "/tmp/mgpu_scheduler.sock"

static const char usage[] =
	"Usage: mgpu_scheduler_server [OPTION]...\n"
	"Lets programs of Multi-GPU Scheduler hand their jobs to dibsd.\n\n"
	"      --max-job-time SEC  a job that came this way and ran for so long goes to the end\n"
	"                          of the queue\n"
	"      --socket PATH       listen there (" SOCKET_PATH ")\n"
	"      --config FILE       the settings of dibsd, to say what holds for other jobs\n"
	"      --help              show this\n"
	"      --version           show the version\n\n"
	"See mgpu_scheduler_server(8).\n";

struct options {
	const char *socket, *config;
	int64_t max_job_sec;
};

static int parse_time(const char *text, int64_t *ret)
{
	uint64_t sec;

	if (parse_uint(text, 1, DURATION_MAX_US / USEC_PER_SEC, &sec) < 0) {
		log_error("--max-job-time takes seconds as a whole number, not '%s'", text);
		return -EINVAL;
	}
	*ret = (int64_t)sec;
	return 0;
}

/* Returns 0 to go on, 1 when all was said, -EINVAL. */
static int parse_options(int argc, char **argv, struct options *ret)
{
	enum { MAX_JOB_TIME = 256, SOCKET, CONFIG, HELP, VERSION };
	static const struct option options[] = {
		{ "max-job-time", required_argument, NULL, MAX_JOB_TIME },
		{ "socket", required_argument, NULL, SOCKET },
		{ "config", required_argument, NULL, CONFIG },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == MAX_JOB_TIME) {
			if (parse_time(optarg, &ret->max_job_sec) < 0)
				return -EINVAL;
		} else if (option == SOCKET) {
			ret->socket = optarg;
		} else if (option == CONFIG) {
			ret->config = optarg;
		} else if (option == HELP) {
			return fputs(usage, stdout) < 0 ? -EIO : 1;
		} else if (option == VERSION) {
			return puts("mgpu_scheduler_server " DIBS_VERSION) < 0 ? -EIO : 1;
		} else {
			return -EINVAL;
		}
	}
	if (optind < argc) {
		log_error("mgpu_scheduler_server takes no arguments, only options: '%s'",
			argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* There, the option held for all jobs; here it is a setting of dibsd that does. More than that
 * allows nobody can have. */
static void settle_limits(struct options *options)
{
	_cleanup_(config_freep) struct config *config = NULL;
	char own[DURATION_TEXT_SIZE] = "as long as they like", others[DURATION_TEXT_SIZE] = "never";
	struct error err = { 0 };
	int64_t most_sec;

	if (config_load(options->config, &config, &err) < 0) {
		log_warning("%s", err.text);
		return;
	}
	most_sec = config->jobs_max_time_us / USEC_PER_SEC;
	if (most_sec && options->max_job_sec > most_sec)
		options->max_job_sec = most_sec;
	if (options->max_job_sec)
		format_duration(own, options->max_job_sec * USEC_PER_SEC);
	if (most_sec)
		format_duration(others, config->jobs_max_time_us);
	log_info("jobs that come through this socket run for %s at a time; for all jobs there is "
		 "[jobs] max-time in %s, which is '%s'",
		own, options->config, others);
}

int main(int argc, char **argv)
{
	static struct server server;
	struct options options = { SOCKET_PATH, CONFIG_PATH, 0 };
	const char *dibsd = getenv("DIBS_SOCKET");
	struct listener listener;
	struct error err = { 0 };
	int r = parse_options(argc, argv, &options);

	if (r != 0)
		return r < 0 ? 2 : 0;
	if (geteuid() != 0) {
		log_error("mgpu_scheduler_server has to be started by root: it becomes who asks");
		return 1;
	}
	if (server_open(&server, &err) < 0 || listener_open(&listener, options.socket, &err) < 0) {
		log_error("%s", err.text);
		return 1;
	}
	puts("mgpu_scheduler_server started");
	fflush(stdout);
	settle_limits(&options);
	server.listener = &listener;
	server.options = (struct session_options){ options.max_job_sec, dibsd };
	r = server_run(&server, &err);
	listener_close(&listener);
	if (r < 0)
		log_error("%s", err.text);
	return r < 0 ? 1 : 0;
}
