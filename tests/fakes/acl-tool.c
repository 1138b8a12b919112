/* SPDX-License-Identifier: MIT */
/*
 * priv/acl.h and model/nvreg.h for scripts:
 *
 *	acl-tool set NODE MAJOR MINOR [UID...]	prints "changed" or "same"
 *	acl-tool clear NODE MAJOR MINOR		the same
 *	acl-tool holds PARAMS...		for each a line: "yes", or the problem
 *
 * What fails is told on stderr: the negative errno and the sentence.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "model/nvreg.h"
#include "priv/acl.h"

#define UIDS_MAX    4096
#define PARAMS_SIZE 65536

static uint32_t number(const char *s)
{
	return (uint32_t)strtoul(s, NULL, 10);
}

static int change(int argc, char **argv)
{
	static uid_t uids[UIDS_MAX];
	struct error err = { 0 };
	size_t n = (size_t)argc - 5;
	int r;

	for (size_t i = 0; i < n && i < UIDS_MAX; i++)
		uids[i] = number(argv[5 + i]);
	if (strcmp(argv[1], "set") == 0)
		r = acl_set(
			argv[2], number(argv[3]), number(argv[4]), uids, MIN(n, UIDS_MAX), &err);
	else
		r = acl_clear(argv[2], number(argv[3]), number(argv[4]), &err);
	if (r < 0) {
		fprintf(stderr, "%d %s\n", r, err.text);
		return 1;
	}
	puts(r > 0 ? "changed" : "same");
	return 0;
}

static int judge(const char *path)
{
	static char text[PARAMS_SIZE];
	const char *problem, *fix;
	struct nvreg nvreg;

	if (read_file_at(AT_FDCWD, path, text, sizeof(text)) < 0) {
		fprintf(stderr, "cannot read %s\n", path);
		return 1;
	}
	nvreg_parse(text, &nvreg);
	puts(nvreg_acl_holds(&nvreg, &problem, &fix) ? "yes" : problem);
	return 0;
}

int main(int argc, char **argv)
{
	int r = 0;

	if (argc >= 5 && (strcmp(argv[1], "set") == 0 || strcmp(argv[1], "clear") == 0))
		return change(argc, argv);
	if (argc < 3 || strcmp(argv[1], "holds") != 0) {
		fprintf(stderr, "usage: acl-tool set|clear|holds ...\n");
		return 2;
	}
	for (int i = 2; r == 0 && i < argc; i++)
		r = judge(argv[i]);
	return r;
}
