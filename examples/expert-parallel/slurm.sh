#!/bin/bash
#SBATCH --job-name=node-moe
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
# One rank on each of four nodes; rank 0 runs your server, which joins with
# { rank: 0, size: 4, store: process.env.STORE, workers: true }.
set -euo pipefail
CHECKPOINT=/scratch/models/mixtral-8x7b
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export CHECKPOINT STORE="tcp://$head:29500"
srun --kill-on-bad-exit=1 bash -c '
  if [ "$SLURM_PROCID" = 0 ]; then
    exec node server.mjs
  else
    exec node-moe worker "$CHECKPOINT" --layer all --rank "$SLURM_PROCID" --size "$SLURM_NTASKS" --store "$STORE" --timeout 30000
  fi'
