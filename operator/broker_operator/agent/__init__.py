"""Programs that run beside Envoy. Each is one file that needs the standard library only: the image has nothing else."""
