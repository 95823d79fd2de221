"""What a good programmer writes by hand for the one case, without a library; and pgbench."""
