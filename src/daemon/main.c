/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include "base/log.h"
#include "daemon/manager.h"
#include "dibs-config.h"
#include "gpu/backend.h"

static const char usage[] =
	"Usage: dibsd [OPTION]...\n"
	"Shares the GPUs of this machine.\n\n"
	"      --config FILE      read FILE and FILE.d/*.conf (" CONFIG_PATH ")\n"
	"      --socket PATH      serve there\n"
	"      --state DIR        keep leases and journal there\n"
	"      --sim SPEC         GPUs that do not exist, as 8xA100-80G or 4xH100-80G,4xV100-32G\n"
	"      --cgroup-root DIR  keep the processes of runs in cgroups below DIR\n"
	"      --help             show this\n"
	"      --version          show the version\n\n"
	"See dibsd(8) and dibs.conf(5).\n";

/* Returns 0 to go on, 1 when all was said, -EINVAL. */
static int parse_options(int argc, char **argv, struct manager_options *ret)
{
	enum { CONFIG = 256, SOCKET, STATE, SIM, CGROUP_ROOT, HELP, VERSION };
	static const struct option options[] = {
		{ "config", required_argument, NULL, CONFIG },
		{ "socket", required_argument, NULL, SOCKET },
		{ "state", required_argument, NULL, STATE },
		{ "sim", required_argument, NULL, SIM },
		{ "cgroup-root", required_argument, NULL, CGROUP_ROOT },
		{ "help", no_argument, NULL, HELP },
		{ "version", no_argument, NULL, VERSION },
		{ 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (option == CONFIG)
			ret->config_path = optarg;
		else if (option == SOCKET)
			ret->socket = optarg;
		else if (option == STATE)
			ret->state_directory = optarg;
		else if (option == SIM)
			ret->sim = optarg;
		else if (option == CGROUP_ROOT)
			ret->cgroup_root = optarg;
		else if (option == HELP)
			return fputs(usage, stdout) < 0 ? -EIO : 1;
		else if (option == VERSION)
			return puts("dibsd " DIBS_VERSION) < 0 ? -EIO : 1;
		else
			return -EINVAL;
	}
	if (optind < argc) {
		log_error("dibsd takes no arguments, only options: '%s'", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* A bad SPEC is a wrong usage of the daemon, not a sensor that fails again and again. */
static int check_sim(const char *spec, struct error *err)
{
	void *context;
	int r = backend_sim.open(&(struct backend_options){ .argument = spec }, &context, err);

	if (r >= 0)
		backend_sim.close(context);
	return r;
}

int main(int argc, char **argv)
{
	_cleanup_(manager_freep) struct manager *m = NULL;
	struct manager_options options = { 0 };
	struct error err = { 0 };
	int r = parse_options(argc, argv, &options);

	if (r != 0)
		return r < 0 ? 2 : 0;
	if (options.sim && check_sim(options.sim, &err) < 0) {
		log_error("%s", err.text);
		return 2;
	}
	if (manager_new(&options, &m, &err) < 0 || manager_run(m, &err) < 0) {
		log_error("%s", err.text);
		return 1;
	}
	return 0;
}
