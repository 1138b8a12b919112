# SPDX-License-Identifier: MIT
# bash completion for canhazgpu(1)

_canhazgpu_gpus() {
	canhazgpu status --json 2>/dev/null | sed -n 's/^ *"gpu_id": \([0-9]*\),$/\1/p'
}

# The flags of a command.
_canhazgpu_flags() {
	local common='--config --help --redis-host --redis-port --redis-db --memory-threshold'
	local request='--gpus --gpu-ids --note --user --nonblock --wait'

	case $1 in
	admin) echo "--gpus --force --provider $common" ;;
	queue) echo "--json $common" ;;
	release) echo "--gpu-ids $common" ;;
	report) echo "--days --json $common" ;;
	reserve) echo "$request --duration --force --short $common" ;;
	run) echo "$request --timeout -- $common" ;;
	status) echo "--json --all --remote --summary --no-color --format $common" ;;
	web) echo "--port --host --demo $common" ;;
	*) echo "--version $common" ;;
	esac
}

# Behind "--" stands the command line of another program, from word $1 on: what bash does for it.
_canhazgpu_command() {
	if declare -F _command_offset >/dev/null; then
		_command_offset "$1"
	elif ((COMP_CWORD == $1)); then
		mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "${COMP_WORDS[COMP_CWORD]}")
	fi
}

_canhazgpu() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local commands='admin queue release report reserve run status web help'
	local command='' words i

	for ((i = 1; i < COMP_CWORD; i++)); do
		if [[ ${COMP_WORDS[i]} == -- ]]; then
			_canhazgpu_command $((i + 1))
			return
		fi
		if [[ -z $command && " $commands " == *" ${COMP_WORDS[i]} "* ]]; then
			command=${COMP_WORDS[i]}
		fi
	done
	case $prev in
	--gpu-ids | -G) words=$(_canhazgpu_gpus) ;;
	--duration | --timeout | --wait | -w | -t) words='30m 1h 2h 4h 8h 1d 2d' ;;
	--days) words='1 3 7 14 30 60 90' ;;
	--provider) words='nvidia amd fake' ;;
	--format) words='table readme' ;;
	--config)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	help) words=$commands ;;
	*)
		if [[ -z $command && $cur != -* ]]; then
			words=$commands
		else
			words=$(_canhazgpu_flags "$command")
		fi
		;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}

complete -F _canhazgpu canhazgpu chg
