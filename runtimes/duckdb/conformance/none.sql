-- result_collection=last_statement_first_row
create table nothing(i int)
