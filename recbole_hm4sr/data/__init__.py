"""What a data set is: files read and checked, features by token, histories, batches."""
