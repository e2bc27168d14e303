#!/usr/bin/env bash
# accelerate 1.15.0: `accelerate launch --cpu --num_processes 2` starts one process on one machine.
#
# Seen:     the script runs once, as process 0 of 1; nothing says that the number was not heeded.
#           torch.distributed.run --nproc_per_node 2 of the same script starts two.
# Expected: two processes, as with GPUs, or an error. A test of "two processes" that launches this
#           way compares one process with itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q accelerate==1.15.0 torch==2.13.0
cat > count.py <<'P'
from accelerate import Accelerator

own = Accelerator(cpu=True)
print("process", own.process_index, "of", own.num_processes, flush=True)
P
venv/bin/pip list 2>/dev/null | grep -E '^(accelerate|torch) '
export OMP_NUM_THREADS=1 ACCELERATE_USE_CPU=true GLOO_SOCKET_IFNAME=lo
launched=$(venv/bin/accelerate launch --cpu --num_machines 1 --num_processes 2 \
    --mixed_precision no --dynamo_backend no count.py 2>/dev/null)
echo "accelerate launch: $launched"
run=$(venv/bin/python -m torch.distributed.run --standalone --nproc_per_node 2 count.py 2>/dev/null)
echo "torch.distributed.run: $run"
[ "$(grep -c 'of 1' <<<"$launched")" = 1 ] && [ "$(grep -c 'of 2' <<<"$run")" = 2 ]
