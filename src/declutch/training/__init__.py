"""Fine-tuning, which SPIN is compared with: methods, mixtures of data, protected weights."""
