"""Downloaded weights: published weights and Hugging Face Hub repositories."""
