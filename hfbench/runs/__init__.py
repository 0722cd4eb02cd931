"""One run: data, batch, step, schedule, evaluation, trace."""
