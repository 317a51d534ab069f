"""Reading and watching on a Ray cluster; nothing else imports Ray."""
