#!/bin/sh
# The main job of lamina, shown over this machine's own files: nothing is downloaded, and nothing is left.
set -eu

scratch=$(mktemp -d)
export LAMINA_ROOT="$scratch/store"
clean() {
  cd /
  lamina rm --all --force >/dev/null
  lamina rmi --all --force >/dev/null
  lamina prune --force >/dev/null
  chmod -R u+rwx "$scratch" # overlayfs leaves a directory of mode 0 in work
  rm -rf "$scratch"
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n# %s\n' "$*"; }
show() { # show COMMAND...: as if it were typed
  printf '$'
  for word; do
    case $word in
      *[!A-Za-z0-9_./:=,-]*) printf " '%s'" "$word" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  "$@"
}

cd "$scratch"
say 'Two directories as one. What is written goes to a third: the upper directory.'
mkdir lower upper work merged
echo 'as it was' >lower/kept
echo 'as it was' >lower/deleted
show lamina mount --layer lower --upper upper --work work merged -- sh -c 'rm merged/deleted; echo new >merged/made; ls merged'
show ls -l upper
say 'What was deleted is a device 0,0 there: a whiteout. The lower directory has not changed:'
show ls lower

say 'The same with this whole machine as the lower directory, and a command alone in it: it is process 1.'
show lamina run --name trial host -- sh -c 'echo "I am process $$ on $(cat /etc/hostname)"; ls -d /proc/[0-9]*; echo new >/tmp/made-by-the-demo; ls /tmp/made-by-the-demo'
say 'The machine has not changed; the container has:'
show ls /tmp/made-by-the-demo || true
show lamina diff trial

say 'Keep the change as a layer, and run over the machine and the layer:'
show lamina commit trial demo:1
show lamina run --rm demo:1 cat /tmp/made-by-the-demo

say 'The stack that you have made:'
show lamina show demo:1
