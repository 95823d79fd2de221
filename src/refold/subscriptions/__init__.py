"""Reading the log as it grows: pages, the pace of polling below the doorbell, and subscriptions."""
