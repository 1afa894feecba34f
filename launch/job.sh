# shellcheck shell=bash
# Shared by launch/run and launch/hosts, which source it: checks that mpirun can start the program,
# and runs the job. A signal stops the job with a checkpoint; the job outlives its terminal and its
# pipes. The caller sets launcher, program and, for run_job, the array options.
# shellcheck disable=SC2154,SC2034

# Opens closed descriptors on /dev/null: otherwise the next file opened would get such a number, and
# cat would fail forever.
for descriptor in 0 1 2; do
  [ -e "/dev/fd/$descriptor" ] || eval "exec $descriptor<>/dev/null"
done

# A reader that goes away (launch/run ... | head -1) ends the output, never the run.
trap '' PIPE

say() { printf 'launch/%s: %s\n' "$launcher" "$*" >&2 2>/dev/null || true; }

# Prints text of foreign origin for a terminal: quoted if it has non-printing characters.
shown() {
  if [[ $1 =~ [^[:print:]] ]]; then printf %q "$1"; else printf %s "$1"; fi
}

# Adds to `problems` whatever is wrong with the first mpirun in PATH.
check_mpirun() {
  local path first built
  if ! path=$(command -v mpirun); then
    problems+=("mpirun is not in PATH; launch/setup installs Open MPI's, and modules often bring it (module load openmpi)")
    return 0
  fi
  # Reads stderr too: other MPIs lack --version and print a usage text.
  first=$(mpirun --version 2>&1 </dev/null || true)
  first=${first%%$'\n'*}
  if ! [[ $first =~ (Open MPI|OpenRTE)\)?\ v?([0-9]+)\. ]]; then
    problems+=("$path is not Open MPI's (it says \"$(shown "$first")\"); put Open MPI's bin folder first in PATH, or unload the other MPI's module")
    return 0
  fi
  local major=${BASH_REMATCH[2]}
  # GPUs, which the text also lists, take long to ask.
  built=$(CUDA_VISIBLE_DEVICES='' "$program" --version 2>/dev/null </dev/null || true)
  if [[ $built =~ $'\n'mpi:\ Open\ MPI\ ([0-9]+)\. ]] && [ "${BASH_REMATCH[1]}" != "$major" ]; then
    problems+=("$path is Open MPI $major, but the program was built with Open MPI ${BASH_REMATCH[1]}; put that one's bin folder first in PATH, or build again (launch/build)")
  fi
}

# Adds to `problems` a command that does not run on several ranks; prints help at once.
check_command() {
  local argument
  for argument in "$@"; do
    case $argument in
      --) break ;;
      -h | --help) exec "$program" "$@" ;;
    esac
  done
  case $1 in
    train | compare | eval) return 0 ;;
    bench) [[ ! ${2:-} =~ ^(step|reduce)$ ]] || return 0 ;;
  esac
  problems+=("ranks together run train, compare, eval, bench step and bench reduce; for anything else start the program alone: $(printf '%q ' "$program" "$@")")
}

# Adds to `problems` a SYNCNORM_BINDING unknown to mpirun.
check_binding() {
  case ${SYNCNORM_BINDING:-core} in
    none | hwthread | core | l1cache | l2cache | l3cache | socket | numa) ;;
    *) problems+=("SYNCNORM_BINDING: \"$(shown "$SYNCNORM_BINDING")\" is not known; core, or none where something else binds") ;;
  esac
}

# Maps an exit code to one of the program's; any other counts as a lost rank.
known_code() {
  case $1 in
    0 | 2 | 3 | 4 | 70 | 75) echo "$1" ;;
    *) echo 70 ;;
  esac
}

# Options for mpirun. A stopped rank needs more than mpirun's one second to write a checkpoint. When
# a rank is lost, mpirun sleeps that long twice, so not much more. A stop through these scripts
# waits for the checkpoint as long as necessary. A user's own setting takes precedence.
common=(--mca ras "^slurm,tm,lsf,gridengine" --mca orte_default_hostfile none) # hosts and slots are ours
[ -n "${OMPI_MCA_odls_base_sigkill_timeout:-}" ] || common+=(--mca odls_base_sigkill_timeout 4)
[ "$(id -u)" -ne 0 ] || common+=(--allow-run-as-root)

# ---- Signals. A signal that was ignored at the start (nohup) stays ignored: bash cannot trap it.
job=
stopping=
interrupted=
stop() {
  interrupted=yes
  if [ -n "$job" ]; then
    # mpirun forwards USR2 to all ranks; on TERM it kills them itself. A closing terminal may send
    # HUP more than once, so only a second TERM, INT or QUIT counts as urgent.
    if [ -z "$stopping" ]; then
      kill -USR2 "$job" 2>/dev/null || true
    elif [[ $1 =~ ^(TERM|INT|QUIT)$ ]]; then
      kill -TERM "$job" 2>/dev/null || true
    fi
  fi
  [ -n "$stopping" ] || [ -z "$job" ] || insist "$job"
  stopping=yes
}
# Repeats USR2, because a rank that has only just started may miss the first one.
insist() {
  (
    trap '' "${signals[@]}"
    while sleep 1 && kill -USR2 "$1" 2>/dev/null; do :; done
  ) </dev/null >/dev/null 2>&1 &
}
signals=(TERM INT HUP QUIT USR1 USR2 ALRM XCPU)
for signal in "${signals[@]}"; do
  # shellcheck disable=SC2064  # the name of now
  trap "stop $signal" "$signal"
done

# ---- Output. mpirun gives up when it cannot write, so it writes to pipes that are always read.

# Opens a new pipe; sets `reading` and `writing` to its ends.
open_pipe() {
  local both
  exec {both}<> <(:)
  exec {writing}>"/dev/fd/$both" {reading}<"/dev/fd/$both"
  exec {both}>&-
}

# Prints a line. With `foreign`, control characters are quoted, because another host may print
# anything before its ranks do.
pass_line() {
  local line=${1%$'\r'}
  if [ -n "${foreign:-}" ] && [[ ${line//$'\t'/} == *[[:cntrl:]]* ]]; then line=$(printf %q "$line"); fi
  printf '%s\n' "$line" 2>/dev/null || return 1
}

# Copies the output. Text that cannot be written (terminal gone, disk full) is lost, and later text
# is tried again. Returns 1 when text with a reader was lost; a closed pipe has no reader.
pass_output() {
  local line lost=0 problem
  exec 3>&1
  if [ -n "${foreign:-}" ]; then
    while IFS= read -r line || [ -n "$line" ]; do
      pass_line "$line" && continue
      problem=$(LC_ALL=C printf '%s\n' "$line" 2>&1 >&3) || [[ $problem == *"Broken pipe"* ]] || lost=1
    done
  else
    until problem=$(LC_ALL=C cat 2>&1 >&3); do
      [[ $problem == *"Broken pipe"* ]] || lost=1
      sleep 0.1
    done
  fi
  return $lost
}

# Lines that ranks print for pass_errors only: one from the rank's shell, and one from the program
# once MPI has started. mpirun's own messages are the second sign of either; Open MPI loses some of
# them when all ranks fail at once.
rank_started=syncnorm-rank-started
rank_ready=syncnorm-rank-ready
never_began='MPI_INIT failed|before MPI_INIT completed|requested component was not found|error occurred in MPI_Init'
never_began+='|File size limit exceeded' # the program ignores that signal from its start on
rank_ended='MPI_ABORT was invoked|lost communication with a remote daemon|Primary job +terminated normally, but|mpirun (noticed|detected) that'

# Passes errors on. When a rank gives up, mpirun ends the others and waits for that, which is
# forever if a host was lost or if it cannot write; so it gets only `patience` seconds. Returns 0
# when some rank could start MPI, 1 when no rank was seen, 2 when only a rank's shell was.
pass_errors() {
  local job=$1 line seen=1 armed='' never=''
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      *"$rank_ready"*)
        seen=0
        continue
        ;;
      *"$rank_started"*)
        [ "$seen" -eq 0 ] || seen=2
        continue
        ;;
    esac
    pass_line "$line" >&2 || true
    if [[ $line =~ $never_began ]]; then
      seen=1 never=yes
    else
      [[ $line =~ $rank_ended ]] || continue
      [ -n "$never" ] || seen=0
    fi
    if [ -z "$armed" ]; then
      local grace=${patience:-30}
      [ -z "$never" ] || grace=5 # ranks that never began have nothing to save
      (sleep "$grace" && pkill -KILL -P "$job"; kill -KILL "$job") \
        <&- >/dev/null 2>&1 &
      armed=$!
    fi
  done
  [ -z "$armed" ] || kill "$armed" 2>/dev/null || true
  return $seen
}

# Waits for a process, however often a signal interrupts the wait; sets `status`.
wait_for() {
  interrupted=yes
  while [ -n "$interrupted" ]; do # a signal ends the wait, not the process
    interrupted=
    status=0
    wait "$1" || status=$?
  done
}

# Waits for a reader; sets `status`. A lost host's remains may hold its pipe open, so after a bad
# end it waits for a limited time.
wait_for_reader() {
  local tries=0
  if [ "$code" -gt 128 ]; then
    while kill -0 "$1" 2>/dev/null && [ $((tries += 1)) -le 40 ]; do sleep 0.05 || true; done
    kill -KILL "$1" 2>/dev/null || true
  fi
  wait_for "$1"
}

# Runs a command under mpirun with `options`. Sets `code`, and `refused` when mpirun ended before
# any rank started. `patience` is in seconds; see pass_errors.
run_job() {
  local output errors guard
  code=75
  refused=
  [ -z "$stopping" ] || return 0
  open_pipe
  local out_from=$reading out_to=$writing
  open_pipe
  local err_from=$reading err_to=$writing
  set -m # process groups of their own: a terminal's ^C and its end reach only this script
  (
    # mpirun forwards USR2 while the job runs; before and after that, USR2 must not kill it.
    trap '' USR2
    # Nor may USR2 kill a rank, until its program handles signals itself.
    local first="trap '' USR2; echo $rank_started >&2; export SYNCNORM_READY=$rank_ready; exec \"\$@\""
    exec mpirun "${options[@]}" /bin/sh -c "$first" sh "$@"
  ) </dev/null >&"$out_to" 2>&"$err_to" {out_from}<&- {out_to}>&- {err_from}<&- {err_to}>&- &
  job=$!
  exec {out_to}>&- {err_to}>&-
  (
    trap '' "${signals[@]}" TTOU
    exec {err_from}<&-
    pass_output
  ) <&"$out_from" {out_from}<&- &
  output=$!
  (
    trap '' "${signals[@]}" TTOU
    exec {out_from}<&-
    pass_errors "$job"
  ) <&"$err_from" {err_from}<&- &
  errors=$!
  exec {out_from}<&- {err_from}<&-
  # If this script is killed, its end of a pipe closes, and the job is stopped all the same.
  open_pipe
  local life=$writing
  (
    trap '' "${signals[@]}"
    read -r _ || kill -USR2 "$job" 2>/dev/null
  ) <&"$reading" {reading}<&- {life}>&- &
  guard=$!
  exec {reading}<&-
  set +m
  # A signal may have arrived before there was a job to forward it to.
  if [ -n "$stopping" ]; then
    kill -USR2 "$job" 2>/dev/null || true
    insist "$job"
  fi
  wait_for "$job"
  code=$status
  job=
  wait_for_reader "$output"
  local lost=$status
  wait_for_reader "$errors"
  local seen=$status
  echo over >&"$life"
  exec {life}>&-
  wait_for "$guard"
  if [ "$code" -eq 0 ]; then
    # A training's output is not its result.
    if [ "$lost" -eq 1 ] && ! [[ $2 =~ ^(train|compare)$ ]]; then
      say "the output could not be written; give it a place with room"
      code=2
    fi
    return 0
  fi
  # mpirun exits with 1 when MPI refuses the ranks; the program never does.
  if [ "$seen" -eq 1 ] || { [ "$seen" -eq 2 ] && [ "$code" -eq 1 ]; }; then
    if [ -n "$stopping" ]; then # there was nothing to save yet
      code=75
      return 0
    fi
    refused=yes
    say "mpirun ended with $code before a rank could begin, and says why above; $(mpirun_settings)"
  fi
  code=$(known_code "$code")
}

# Names the settings that mpirun takes from outside this script.
mpirun_settings() {
  local found='' name
  for name in $(compgen -e); do
    [[ $name =~ ^(OMPI_MCA|PMIX_MCA|PRTE_MCA|HWLOC)_ ]] && found+=", $name"
  done
  [ "$(ulimit -f)" = unlimited ] || found+=", a limit on the size of files (ulimit -f $(ulimit -f))"
  for name in "${HOME:-}"/.{openmpi,pmix,prte}/mca-params.conf; do
    [ ! -s "$name" ] || found+=", $name"
  done
  if [ -n "$found" ]; then
    echo "it also follows ${found#, }: change or remove what does not fit"
  else
    echo "neither the environment nor a file of yours changes what it does"
  fi
}
