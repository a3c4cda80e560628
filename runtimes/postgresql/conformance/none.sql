-- result_collection=last_statement_first_row
do $$ begin end $$
