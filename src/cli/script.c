/* SPDX-License-Identifier: MIT */
/*
 * The file is read once, here, as the user; what was submitted is what runs, whatever becomes of
 * the file. It is opened so that a FIFO or a device does not hang or do anything.
 */
#include "cli/script.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/slurm.h"
#include "cli/submit.h"

#define ID "script.file"

int strings_take(struct strings *strings, char *text)
{
	char **items = text ? reallocarray(strings->items, strings->n + 1, sizeof(*items)) : NULL;

	if (!items) {
		free(text);
		return -ENOMEM;
	}
	strings->items = items;
	items[strings->n++] = text;
	return 0;
}

void strings_clear(struct strings *strings)
{
	while (strings->n > 0)
		free(strings->items[--strings->n]);
	free(strings->items);
	*strings = (struct strings){ 0 };
}

void directives_clear(struct directives *directives)
{
	strings_clear(&directives->texts);
	strings_clear(&directives->notes);
}

static int check_file(const char *path, int fd, size_t max, size_t *ret, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_errno(err, -errno, ID, "cannot read %s", path);
	if (S_ISDIR(st.st_mode))
		return error_set(err, -EINVAL, ID, "%s is a directory, not a script", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, ID, "%s is not a regular file", path);
	if (st.st_size == 0)
		return error_set(err, -EINVAL, ID, "%s is empty", path);
	if ((uint64_t)st.st_size > max)
		return error_set(err, -EINVAL, ID,
			"%s has %lld bytes; a script may have %zu. Submit a small one that calls "
			"it",
			path, (long long)st.st_size, max);
	*ret = (size_t)st.st_size;
	return 0;
}

static unsigned bad_line(char *text)
{
	unsigned line = 1;

	for (char *rest = text, *s; (s = strsep(&rest, "\n")); line++)
		if (!text_is_utf8(s))
			break;
	return line;
}

static int check_text(const char *path, char *text, size_t size, struct error *err)
{
	size_t first = strcspn(text, "\n");

	if (strlen(text) < size)
		return error_set(err, -EINVAL, ID,
			"%s is binary, not a script; a command goes behind two dashes: dibs submit "
			"-- %s",
			path, path);
	if (!text_is_utf8(text))
		return error_set(err, -EINVAL, ID, "%s:%u: not UTF-8, as scripts have to be", path,
			bad_line(text));
	if (strncmp(text, "#!", 2) == 0 && text[first - 1] == '\r')
		return error_set(err, -EINVAL, ID,
			"%s has line ends of DOS, which no shell reads; 'sed -i \"s/\\r$//\" %s' "
			"mends it",
			path, path);
	return 0;
}

int script_read(const char *path, size_t max, char **ret, struct error *err)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_(freep) char *text = NULL;
	size_t size = 0;
	ssize_t n;
	int r;

	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return error_set(err, -EINVAL, ID,
			"there is no script '%s'; a command goes behind two dashes: dibs submit -- "
			"%s",
			path, path);
	if (fd < 0)
		return error_errno(err, -errno, ID, "cannot read the script %s", path);
	r = check_file(path, fd, max, &size, err);
	if (r < 0)
		return r;
	text = malloc(size + 1);
	if (!text)
		return cli_no_memory(err);
	/* As much as it had when it was opened, or less. */
	n = read_all(fd, text, size);
	if (n < 0)
		return error_errno(err, (int)n, ID, "cannot read the script %s", path);
	text[n] = '\0';
	r = check_text(path, text, (size_t)n, err);
	if (r == 0)
		*ret = TAKE_PTR(text);
	return r;
}

/* "#DIBS" and a blank, or nothing more. Returns what follows, or NULL. */
static char *behind(char *line, const char *mark)
{
	size_t n = strlen(mark);

	if (strncmp(line, mark, n) != 0 || (line[n] && !strchr(" \t\r", line[n])))
		return NULL;
	return line + n;
}

/* Options of one line; behind is what stands behind its mark. */
static int read_options(struct directives *d, struct arguments *lines, char *behind,
	const char *where, struct error *err)
{
	struct arguments line = { .verb = lines->verb };
	char *words[SCRIPT_WORDS_MAX + 1];
	int r = script_words(behind, words, err);

	if (r >= 0)
		r = lines == &d->dibs ? arguments_add(&line, words, err)
				      : slurm_translate(d, &line, words, where, err);
	if (r >= 0)
		r = submit_check(&line, err);
	if (r >= 0)
		r = submit_merge(&line, lines, MERGE_ALIKE, err);
	if (r >= 0)
		*lines = line;
	return r;
}

static int read_line(struct directives *d, char *line, const char *where, struct error *err)
{
	char *rest = behind(line, "#DIBS");

	if (rest)
		return read_options(d, &d->dibs, rest, where, err);
	rest = behind(line, "#SBATCH");
	return rest ? read_options(d, &d->slurm, rest, where, err) : 0;
}

int directives_read(const char *text, const char *name, struct directives *ret, struct error *err)
{
	const struct verb *verb = verb_find(verbs, "submit");
	char *copy = strdup(text), *rest = copy, *line;

	*ret = (struct directives){ .dibs.verb = verb, .slurm.verb = verb };
	if (strings_take(&ret->texts, copy) < 0)
		return cli_no_memory(err);
	for (int number = 1, r; (line = strsep(&rest, "\n")); number++) {
		char where[256];

		if (line[strspn(line, " \t\r")] && line[strspn(line, " \t")] != '#')
			break;
		snprintf(where, sizeof(where), "%.200s:%d", name, number);
		r = read_line(ret, line, where, err);
		if (r < 0)
			return error_prefix(err, r, "%s", where);
	}
	return 0;
}
